// How many calls a second the stage can do, so that what is offered is a known share of it, on whatever machine.
import type { Caller } from './caller.ts'
import { pause } from './stage.ts'

const WARM_UP_MS = 1_500

/** Calls that end in a second while so many always wait. */
export async function measureCapacity(
  caller: Caller,
  { waiting, ms }: { waiting: number; ms: number },
): Promise<number> {
  const done = new AbortController()
  const loops = Array.from({ length: waiting }, async () => {
    while (!done.signal.aborted) await caller.run('work', 5)
  })
  await pause(WARM_UP_MS)
  const before = caller.okAtMs.length
  const startedMs = performance.now()
  await pause(ms)
  const perSecond = ((caller.okAtMs.length - before) / (performance.now() - startedMs)) * 1_000
  done.abort()
  await Promise.all(loops)
  return perSecond
}
