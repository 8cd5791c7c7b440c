// A meter around the Worker under test: what each request asks of the database and of the bell, and what the bell does.
//
// It takes the place of the Worker's handlers, of `fetch`, and of the binding of the bell, and hands everything on. So each
// request runs in workerd and in a context of its own, as without it. What belongs to which is known by that context.
import { AsyncLocalStorage } from 'node:async_hooks'
import type {
  DurableObjectState,
  DurableObjectStub,
  Response as WorkerResponse,
  WebSocket as WorkerSocket,
} from '@cloudflare/workers-types'
import { runInDurableObject } from 'cloudflare:test'
import { env as testEnv } from 'cloudflare:workers'
import worker, { BellObject, type Env } from '../../src/worker.ts'

/** What Cloudflare's free plan gives to one request, alarm or cron trigger. */
const FREE_PLAN = {
  /** Calls to its own services are counted apart by now, up to a thousand. Counted together they are on the safe side. */
  subrequests: 50,
  /** Answers waited for at once; a seventh would wait for one of them. A socket counts here for as long as it is open. */
  open: 6,
}

/** What one request, alarm or cron trigger has asked of others. */
export interface Spent {
  /** `POST /v1/calls`, `cron`, `alarm`. */
  what: string
  /** Round trips to the database: each is one statement. */
  statements: number
  /** Calls to Durable Objects, and sockets to them: each is billed as a request. */
  rings: number
  mostOpen: number
}

/** What the Durable Objects did since the last `bellWork`. */
interface BellWork {
  /** Twenty are billed as one request. */
  messages: number
  alarms: number
  rowsWritten: number
  /** With a request, a message or an alarm in hand: else it sleeps, or may. */
  busyMs: number
}

type Open = Spent & { open: number }

const spending = new AsyncLocalStorage<Open>()
const all: Open[] = []
let work: BellWork = { messages: 0, alarms: 0, rowsWritten: 0, busyMs: 0 }

/** What began since the last time. What goes on is counted on. */
export const spent = (): Spent[] => all.splice(0)

/** How many of them the first that began since then, and is so called, has run by now. */
export const statementsOf = (what: string): number => all.find((one) => one.what.startsWith(what))?.statements ?? 0

export function bellWork(): BellWork {
  const done = work
  work = { messages: 0, alarms: 0, rowsWritten: 0, busyMs: 0 }
  return done
}

export const subrequestsOf = ({ statements, rings }: Spent): number => statements + rings

/** A sentence for each that went over what the free plan gives. */
export function overFreePlan(these: readonly Spent[]): string[] {
  return these.flatMap((one) => {
    const faults: string[] = []
    if (subrequestsOf(one) > FREE_PLAN.subrequests) faults.push(`${one.what} made ${subrequestsOf(one)} subrequests`)
    if (one.mostOpen > FREE_PLAN.open) faults.push(`${one.what} had ${one.mostOpen} of them open at once`)
    return faults
  })
}

function metered<T>(what: string, run: () => T): T {
  const one = { what, statements: 0, rings: 0, open: 0, mostOpen: 0 }
  all.push(one)
  return spending.run(one, run)
}

async function whileOpen<T>(one: Open | undefined, answer: () => Promise<T>): Promise<T> {
  if (one === undefined) return answer()
  one.open++
  one.mostOpen = Math.max(one.mostOpen, one.open)
  try {
    return await answer()
  } finally {
    one.open--
  }
}

// The Neon driver sends each statement by one fetch, and nothing else of ours fetches.
const fetchAsEver = globalThis.fetch
globalThis.fetch = (input, init) => {
  const one = spending.getStore()
  if (one !== undefined) one.statements++
  return whileOpen(one, () => fetchAsEver(input, init))
}

type Methods = Record<string | symbol, (...params: unknown[]) => Promise<unknown>>

/** Each of its methods is a call to the object. */
function meteredStub(stub: DurableObjectStub): DurableObjectStub {
  return new Proxy(stub, {
    get: (target, name) => {
      return async (...params: unknown[]) => {
        const one = spending.getStore()
        if (one !== undefined) one.rings++
        // Called in place: taken off the stub, `apply` would be a call to a method of that name.
        const answer = await whileOpen(one, async () => (target as unknown as Methods)[name]?.(...params)) // it has them all
        // Only the fetch of a stub answers a response.
        if (name === 'fetch') holdOpen(one, (answer as WorkerResponse).webSocket)
        return answer
      }
    },
  })
}

function holdOpen(one: Open | undefined, socket: WorkerSocket | null): void {
  if (socket === null) return
  const { promise, resolve } = Promise.withResolvers<void>()
  const close = socket.close.bind(socket)
  socket.close = (code, reason) => {
    resolve()
    close(code, reason)
  }
  socket.addEventListener('close', () => resolve())
  void whileOpen(one, () => promise)
}

function meteredEnv(env: Env): Env {
  const BELL = new Proxy(env.BELL, {
    get: (target, name) => {
      if (name !== 'getByName') throw new Error(`the meter does not know env.BELL.${String(name)}`)
      return (object: string) => meteredStub(target.getByName(object))
    },
  })
  return { ...env, BELL }
}

const { fetch: handle, scheduled } = worker
worker.fetch = (request, env, ctx) =>
  metered(`${request.method} ${new URL(request.url).pathname}`, () => handle(request, meteredEnv(env), ctx))
worker.scheduled = (controller, env) => metered('cron', () => scheduled(controller, meteredEnv(env)))

/** By object, how many of its events are in hand, and since when there is one. */
const inHand = new WeakMap<object, { events: number; sinceMs: number }>()

async function busy<T>(object: object, run: () => Promise<T>): Promise<T> {
  const known = inHand.get(object) ?? { events: 0, sinceMs: 0 }
  inHand.set(object, known)
  if (known.events++ === 0) known.sinceMs = performance.now()
  try {
    return await run()
  } finally {
    if (--known.events === 0) work.busyMs += performance.now() - known.sinceMs
  }
}

type Method = (this: BellObject, ...params: unknown[]) => Promise<unknown>
const methods = BellObject.prototype as unknown as Record<string, Method> // those named here are there, and all may await

const EVENTS = 'fetch arm ring isQuietSince isSwept swept alarmBy alarm webSocketMessage webSocketClose'.split(' ')
for (const name of EVENTS) {
  const method = methods[name]
  if (method === undefined) throw new Error(`the bell has no ${name} any more`)
  methods[name] = function (...params) {
    const run = async () => method.apply(this, params)
    if (name === 'webSocketMessage') work.messages++
    if (name !== 'alarm') return busy(this, run)
    work.alarms++
    // The first to come makes the app of the isolate: it must be metered too.
    const object = this as unknown as { env: Env } // protected
    Object.defineProperty(object, 'env', { value: meteredEnv(testEnv as unknown as Env), configurable: true }) // the Worker's
    return busy(this, () => metered('alarm', run))
  }
}

// All objects of the isolate share the methods of their storages.
await runInDurableObject(testEnv.BELL.getByName('meter'), (_, { storage }: DurableObjectState) => {
  const shared = Object.getPrototypeOf(storage) as Record<'put' | 'setAlarm', (...params: unknown[]) => unknown> // workerd's
  for (const name of ['put', 'setAlarm'] as const) {
    const write = shared[name]
    shared[name] = function (...params) {
      work.rowsWritten++
      return write.apply(this, params)
    }
  }
})
