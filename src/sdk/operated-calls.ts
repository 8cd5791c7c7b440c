// Calls by the many: list them, look at one, cancel and redrive those that fit a filter.
import { CallplaneError, fromWireError } from '../protocol/errors.ts'
import { IS_FINAL, type JobState } from '../protocol/job.ts'
import { MAX_BATCH, MAX_LIST, MAX_REDRIVE } from '../protocol/limits.ts'
import type { CallFilter as WireFilter } from '../protocol/list-calls.ts'
import { narrowFilter, queryOf, wireFilter, type CallFilter } from './call-filter.ts'
import { checkedCallId } from './call-id.ts'
import { recordOf, summaryOf, type CallRecord, type CallSummary } from './call-record.ts'
import { cancel } from './cancel.ts'
import { untilAnswered } from './retry.ts'
import { getCallRoute, listCallsRoute, REDRIVE_CALLS, type AnswerOf } from './routes.ts'
import type { Transport } from './transport.ts'

/** The state that the call is in then (`cancelled`, or the end that came first), or why it has none: `not_found`. */
export type CancelledCall = { readonly id: string } & (
  | { readonly state: JobState }
  | { readonly error: CallplaneError }
)

/** The call that runs it anew (made now, or by an earlier redrive), or why there is none: `not_found`, `call_not_ended`. */
export type RedrivenCall = { readonly id: string } & (
  | { readonly redrivenAs: string; readonly isNew: boolean }
  | { readonly error: CallplaneError }
)

export interface CancelTotals {
  readonly cancelled: number
  /** Calls that ended before they could be cancelled. */
  readonly ended: number
}

export interface RedriveTotals {
  readonly redriven: number
  /** Calls that somebody else redrove meanwhile. */
  readonly repeated: number
  /** Calls that were not redriven; a run over a filter goes on without them. */
  readonly refused: readonly { readonly id: string; readonly error: CallplaneError }[]
}

interface CancelOptions {
  /** What the callers are told, up to 2,000 characters. */
  readonly reason?: string | undefined
  /** Told after each step of a run over a filter, with its calls. */
  readonly onStep?: ((calls: readonly CancelledCall[]) => void) | undefined
}

interface RedriveOptions {
  /** Told after each step of a run over a filter, with its calls. */
  readonly onStep?: ((calls: readonly RedrivenCall[]) => void) | undefined
}

type Redriven = AnswerOf<typeof REDRIVE_CALLS>['calls'][number]

export class OperatedCalls {
  readonly #transport: Transport

  constructor(transport: Transport) {
    this.#transport = transport
  }

  /**
   * Calls that fit the filter, newest first; all calls without one. Asks for a page when the one before is read, so that
   * a loop may stop early. Needs the scope `watch`. Throws `invalid_option`, `forbidden`.
   */
  async *list(filter: CallFilter = {}): AsyncGenerator<CallSummary, void, undefined> {
    for await (const calls of this.#pages(wireFilter('calls.list', filter))) yield* calls
  }

  /** Everything about one call: its attempts, its result, what it threw. Needs the scope `call`. Throws `not_found`. */
  async get(id: string): Promise<CallRecord> {
    const route = getCallRoute(checkedCallId(id))
    return recordOf(await untilAnswered(this.#transport, () => this.#transport.get(route)))
  }

  /**
   * Cancels calls that have not ended. By ids: what became of each, in their order; one bad id does not hold back the
   * others; needs the scope `call`. By a filter: in steps, the newest first, until none is left; needs `watch` too. An
   * empty filter, or one of states in which calls have ended, throws `invalid_option`.
   */
  cancel(ids: readonly string[], options?: CancelOptions): Promise<CancelledCall[]>
  cancel(filter: CallFilter, options?: CancelOptions): Promise<CancelTotals>
  async cancel(
    target: readonly string[] | CallFilter,
    { reason, onStep }: CancelOptions = {},
  ): Promise<CancelledCall[] | CancelTotals> {
    if (isIds(target)) return inSteps(target, MAX_BATCH, (ids) => this.#cancel(ids, reason))
    const { state = ['pending', 'running'] as JobState[], ...rest } = narrowFilter('calls.cancel', target)
    const final = state.find((one) => IS_FINAL[one])
    if (final !== undefined) {
      throw new CallplaneError(
        'invalid_option',
        `calls.cancel: a call that is ${final} has ended, and cannot be cancelled`,
      )
    }
    let [cancelled, ended] = [0, 0]
    for await (const page of this.#pages({ ...rest, state })) {
      const calls = await this.#cancel(
        page.map(({ id }) => id),
        reason,
      )
      const taken = calls.filter((call) => 'state' in call && call.state === 'cancelled').length
      cancelled += taken
      ended += calls.length - taken
      onStep?.(calls)
    }
    return { cancelled, ended }
  }

  /**
   * Runs calls anew that have ended, each as a new call that names the old one. A call is redriven once: what is repeated
   * answers the call that the first made. To run it once more, redrive that.
   *
   * By ids: what became of each, in their order; needs the scope `call`. By a filter: failed ones, or those in the states
   * that it names, that had ended when the run began and are not redriven yet, in steps, the oldest first; needs `admin`.
   * An empty filter throws `invalid_option`.
   */
  redrive(ids: readonly string[], options?: RedriveOptions): Promise<RedrivenCall[]>
  redrive(filter: CallFilter, options?: RedriveOptions): Promise<RedriveTotals>
  async redrive(
    target: readonly string[] | CallFilter,
    { onStep }: RedriveOptions = {},
  ): Promise<RedrivenCall[] | RedriveTotals> {
    if (isIds(target)) {
      return inSteps(target, MAX_REDRIVE, async (ids) => (await this.#redrive({ ids })).calls.map(redrivenCall))
    }
    const filter = narrowFilter('calls.redrive', target)
    let [redriven, repeated] = [0, 0]
    const refused: { id: string; error: CallplaneError }[] = []
    let { next } = await this.#redrive({ filter })
    while (next !== undefined) {
      const step = await this.#redrive({ filter, cursor: next })
      const calls = step.calls.map(redrivenCall)
      for (const call of calls) {
        if ('error' in call) refused.push(call)
        else if (call.isNew) redriven++
        else repeated++
      }
      if (calls.length > 0) onStep?.(calls)
      next = step.next
    }
    return { redriven, repeated, refused }
  }

  /** Pages of a list, without the empty ones. */
  async *#pages(filter: WireFilter): AsyncGenerator<CallSummary[], void, undefined> {
    const query = queryOf(filter)
    query.set('limit', String(MAX_LIST))
    for (;;) {
      const route = listCallsRoute(query)
      const { calls, next } = await untilAnswered(this.#transport, () => this.#transport.get(route))
      if (calls.length > 0) yield calls.map(summaryOf)
      if (next === undefined) return
      query.set('cursor', next)
    }
  }

  async #cancel(ids: string[], reason: string | undefined): Promise<CancelledCall[]> {
    const { calls } = await cancel(this.#transport, ids, reason)
    return calls.map(({ id, state, error }) => (state === undefined ? { id, error: errorOf(error) } : { id, state }))
  }

  #redrive(body: { ids: string[] } | { filter: WireFilter; cursor?: string }) {
    return untilAnswered(this.#transport, () => this.#transport.send(REDRIVE_CALLS, body))
  }
}

function isIds(target: readonly string[] | CallFilter): target is readonly string[] {
  return Array.isArray(target)
}

/** So many ids a request; the answers in the order of the ids, each id asked for once. */
async function inSteps<T extends { id: string }>(
  given: readonly string[],
  size: number,
  step: (ids: string[]) => Promise<T[]>,
): Promise<T[]> {
  const ids = given.map(checkedCallId)
  const asked = [...new Set(ids)]
  const answers = new Map<string, T>()
  for (let start = 0; start < asked.length; start += size) {
    for (const one of await step(asked.slice(start, start + size))) answers.set(one.id, one)
  }
  return ids.flatMap((id) => answers.get(id) ?? [])
}

function redrivenCall({ id, redrivenAs, isNew = false, error }: Redriven): RedrivenCall {
  return redrivenAs === undefined ? { id, error: errorOf(error) } : { id, redrivenAs, isNew }
}

function errorOf(error: { code: string; message: string } | undefined): CallplaneError {
  return error === undefined ? new CallplaneError('internal') : fromWireError(error)
}
