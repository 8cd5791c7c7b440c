// The globals that handlers and SDK use, replaced for a run: time is the scheduler's, chance is the seed's.
import { hash } from 'node:crypto'
import type { Random } from './random.ts'
import type { Scheduler, SimEvent } from './scheduler.ts'

/** When a run begins, as Unix milliseconds: call ids carry the time. */
export const EPOCH_MS = 1_800_000_000_000

/** What `setTimeout` answers: as much of Node's timer as the code asks for. */
class VirtualTimer {
  event: SimEvent | null = null

  unref(): this {
    return this
  }

  ref(): this {
    return this
  }
}

type Callback = (...args: unknown[]) => void

/** Replaces them, and returns what puts them back. */
export function installGlobals(scheduler: Scheduler, random: Random): () => void {
  const restores: (() => void)[] = []
  const replace = (target: object, name: string, value: unknown) => {
    const old = Object.getOwnPropertyDescriptor(target, name)
    Object.defineProperty(target, name, { value, configurable: true, writable: true })
    restores.push(() => {
      if (old === undefined) Reflect.deleteProperty(target, name)
      else Object.defineProperty(target, name, old)
    })
  }

  const clear = (timer: unknown) => {
    if (!(timer instanceof VirtualTimer) || timer.event === null) return
    timer.event.run = null
    timer.event = null
  }
  replace(globalThis, 'setTimeout', (run: Callback, ms = 0, ...args: unknown[]) => {
    const timer = new VirtualTimer()
    // Node's timers take whole milliseconds, from 1.
    timer.event = scheduler.after(Math.max(1, Math.trunc(ms)), scheduler.process, () => run(...args))
    return timer
  })
  replace(globalThis, 'setInterval', (run: Callback, ms = 0, ...args: unknown[]) => {
    const timer = new VirtualTimer()
    const owner = scheduler.process
    const again = () => {
      timer.event = scheduler.after(Math.max(1, Math.trunc(ms)), owner, () => {
        again()
        run(...args)
      })
    }
    again()
    return timer
  })
  replace(globalThis, 'clearTimeout', clear)
  replace(globalThis, 'clearInterval', clear)

  const RealDate = Date
  replace(
    globalThis,
    'Date',
    new Proxy(RealDate, {
      construct: (target, args: unknown[], newTarget) =>
        Reflect.construct(target, args.length === 0 ? [EPOCH_MS + scheduler.nowMs] : args, newTarget) as object, // a Date
      get: (target, name) =>
        name === 'now' ? () => EPOCH_MS + scheduler.nowMs : (Reflect.get(target, name) as unknown), // as it is
    }),
  )
  replace(performance, 'now', () => scheduler.nowMs)
  replace(Math, 'random', () => random.next())
  replace(crypto, 'randomUUID', () => random.uuid())
  replace(crypto, 'getRandomValues', (bytes: Uint8Array) => {
    random.fillBytes(bytes)
    return bytes
  })
  // The real one answers from another thread, whenever that is done.
  replace(crypto.subtle, 'digest', async (_algorithm: string, bytes: Uint8Array) => {
    const digest = hash('sha256', bytes, 'buffer')
    return digest.buffer.slice(digest.byteOffset, digest.byteOffset + digest.byteLength)
  })
  replace(AbortSignal, 'timeout', (ms: number) => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new DOMException('the time is over', 'TimeoutError')), ms)
    return controller.signal
  })
  return () => {
    for (const restore of restores.toReversed()) restore()
  }
}
