// What a Worker tells of bells that fail: seldom, since an overloaded object fails request after request.

const TOLD_EVERY_MS = 60_000

/** A bell that refused, or did not answer. */
export interface BellFailure {
  /** Null: the bell that keeps the alarm. */
  namespace: string | null
  /** It has more to do than an object can. Else it is being moved, was too slow, or is broken. */
  isOverloaded: boolean
  /** So many of this kind since the last that was told of, of whichever bells. */
  failures: number
  detail: string
}

/** Tells of the first of each kind, and of those that come a minute after the last that it told of; counts the others. */
export function failuresTold(
  tell: (failure: BellFailure) => void,
): (failure: { namespace: string | null; error: unknown }) => void {
  const known = { overloaded: { toldAtMs: -Infinity, failures: 0 }, otherwise: { toldAtMs: -Infinity, failures: 0 } }
  return ({ namespace, error }) => {
    const isOverloaded = isOverload(error)
    const kind = isOverloaded ? known.overloaded : known.otherwise
    kind.failures++
    const nowMs = Date.now()
    if (nowMs - kind.toldAtMs < TOLD_EVERY_MS) return
    tell({ namespace, isOverloaded, failures: kind.failures, detail: String(error) })
    kind.toldAtMs = nowMs
    kind.failures = 0
  }
}

/** What workerd says of an object with too many requests waiting. */
function isOverload(error: unknown): boolean {
  return error instanceof Error && 'overloaded' in error && error.overloaded === true
}
