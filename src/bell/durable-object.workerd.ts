// The bell on Cloudflare: one Durable Object per namespace, which sleeps while the polls wait, and one for the alarm.
//
// A poll waits in its Worker, where waiting is free, on a WebSocket to the object. The object accepts it so that it may
// hibernate: whatever it must know of a waiter is attached to the socket, and nothing is kept in memory. A ring is one
// call that finds the sockets it concerns.
//
// The alarm is kept by one object for all namespaces, since the sweep rules over all of them. Its time is on disk: it
// outlives every isolate.
import { DurableObject } from 'cloudflare:workers'
import type {
  DurableObjectNamespace,
  Request as WorkerRequest,
  Response as WorkerResponse,
  WebSocket as WorkerSocket,
  WebSocketPair as WorkerSocketPair,
} from '@cloudflare/workers-types'
import type { Bell, Interest, Ring, Wake, Waiter } from './bell.ts'

// workerd's own, where the DOM library has another or none of the name.
declare const WebSocketPair: typeof WorkerSocketPair
declare const Response: typeof WorkerResponse

/** A bell that cannot be reached is replaced by looks this far apart. */
const LOOK_WITHOUT_BELL_MS = 5_000
/** A bell that does not answer by then is not waited for: what was committed is found by a look. */
const BELL_WITHIN_MS = 1_000

/** What a socket waits for. Calls are named by the end of their ids: a thousand must fit into 16 KiB. */
type Attachment = { claimId: string; services: readonly string[]; isRung?: boolean } | { calls: readonly string[] }

/** WebSocket.OPEN, by the standard; workerd names it otherwise. */
const OPEN = 1

const shortId = (id: string) => id.slice(-12)

/** What goes over a socket to its waiter. */
type Message = 'rung' | 'replaced'

/** Namespaces have no such name. */
const ALARM_OBJECT = ':alarm'
/** After the database did not answer, the sweep is tried again so much later. */
const AFTER_FAILURE_MS = 5_000
/** What is still overdue after a sweep is locked by another, or has just come. */
const AGAIN_MS = 1_000

/**
 * Holds the waiters of one namespace, or the alarm. Evicted at any time, without harm: it keeps nothing but sockets and
 * the time of the alarm. The Worker that has the database says how to sweep.
 */
export abstract class SleepingBell<Env> extends DurableObject<Env> {
  /** Runs the sweep; returns in how many milliseconds it is wanted again. */
  protected abstract sweep(): Promise<number | null>

  /** Sets the alarm, unless it is set to ring sooner. */
  async alarmBy(inMs: number): Promise<void> {
    const wantedMs = Date.now() + inMs
    const knownMs = await this.ctx.storage.getAlarm()
    if (knownMs === null || knownMs > wantedMs) await this.ctx.storage.setAlarm(wantedMs)
  }

  override async alarm(): Promise<void> {
    let nextMs: number | null = AFTER_FAILURE_MS
    try {
      nextMs = await this.sweep()
    } finally {
      if (nextMs !== null) await this.alarmBy(Math.max(nextMs, AGAIN_MS))
    }
  }

  override async fetch(request: WorkerRequest): Promise<WorkerResponse> {
    const { 0: client, 1: server } = new WebSocketPair()
    const attachment = JSON.parse(request.headers.get('callplane-interest') ?? '{}') as Attachment // from our own Worker
    if ('claimId' in attachment) {
      for (const socket of this.#sockets('claimId')) {
        if (socket.attachment.claimId === attachment.claimId) tell(socket.socket, 'replaced')
      }
    }
    this.ctx.acceptWebSocket(server)
    server.serializeAttachment(attachment)
    return new Response(null, { status: 101, webSocket: client })
  }

  /** Wakes as many waiters as there are jobs, and all who wait for the calls. */
  ring(due: readonly { service: string; jobs: number }[], ended: readonly string[]): void {
    const runners = due.length === 0 ? [] : this.#sockets('claimId')
    for (const { service, jobs } of due) {
      let left = jobs
      for (const { socket, attachment } of runners) {
        if (left === 0) break
        if (attachment.isRung === true || !attachment.services.includes(service)) continue
        left--
        // One ring, one look: the next ring wakes another. The socket stays, so that a newer poll with the same claim id
        // still ends this one while it looks.
        attachment.isRung = true
        socket.serializeAttachment(attachment)
        tell(socket, 'rung')
      }
    }
    if (ended.length === 0) return
    const short = new Set(ended.map(shortId))
    for (const { socket, attachment } of this.#sockets('calls')) {
      if (attachment.calls.some((id) => short.has(id))) tell(socket, 'rung')
    }
  }

  #sockets<K extends 'claimId' | 'calls'>(kind: K) {
    return this.ctx.getWebSockets().flatMap((socket) => {
      const attachment = socket.deserializeAttachment() as Attachment | null // written by fetch above
      if (attachment === null || !(kind in attachment) || socket.readyState !== OPEN) return []
      return [{ socket, attachment: attachment as Extract<Attachment, Record<K, unknown>> }] // kind was just checked
    })
  }

  override webSocketClose(socket: WorkerSocket): void {
    socket.close()
  }
}

/** A socket that is just going must not keep the others from hearing. */
function tell(socket: WorkerSocket, message: Message): void {
  try {
    socket.send(message)
    if (message === 'replaced') socket.close(1000, message)
  } catch {
    // Its waiter has gone.
  }
}

/** The bell of a Worker. A ring carries no outcomes: the waiter looks. */
export function durableObjectBell<Env>(objects: DurableObjectNamespace<SleepingBell<Env>>): Bell {
  /** When the alarm rings at the latest, as far as this isolate knows: asking for what is known costs a request. */
  let alarmAtMs = -Infinity

  return {
    lookEveryMs: Number.POSITIVE_INFINITY,
    // This bell is never quiet yet: polls look when they begin and when they end.
    isQuietSince: () => false,
    armedForMs: () => Number.POSITIVE_INFINITY,
    arm: () => Promise.resolve(),

    async join(interest) {
      try {
        const stub = objects.getByName(interest.namespace)
        const headers = { upgrade: 'websocket', 'callplane-interest': JSON.stringify(attachmentOf(interest)) }
        const response = await inTime<WorkerResponse>(stub.fetch('https://bell/', { headers }))
        if (response.webSocket === null) throw new Error(`the bell answered ${response.status}`)
        return socketWaiter(response.webSocket)
      } catch {
        return timedWaiter()
      }
    },

    async ring({ namespace, due = [], ended = [] }: Ring) {
      // Later ones are the alarm's.
      const later = due.flatMap(({ inMs = 0 }) => (inMs > 0 ? [inMs] : []))
      if (later.length > 0) await this.alarm(Math.min(...later))
      const now = due.filter(({ inMs = 0 }) => inMs <= 0).map(({ service, jobs }) => ({ service, jobs }))
      const ids = ended.map(({ id }) => id)
      if (now.length === 0 && ids.length === 0) return
      try {
        await inTime(objects.getByName(namespace).ring(now, ids))
      } catch {
        // Overloaded or just moved: a look finds what was not rung for.
      }
    },

    async alarm(inMs) {
      const nowMs = Date.now()
      if (alarmAtMs > nowMs && alarmAtMs <= nowMs + inMs) return
      try {
        await inTime(objects.getByName(ALARM_OBJECT).alarmBy(inMs))
        alarmAtMs = nowMs + inMs
      } catch {
        // The cron trigger and the polls find what the alarm does not.
      }
    },
  }
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(new Error('the bell does not answer')), BELL_WITHIN_MS)
  try {
    return await Promise.race([answer, promise])
  } finally {
    clearTimeout(timer)
  }
}

function attachmentOf(interest: Interest): Attachment {
  if ('calls' in interest) return { calls: interest.calls.map(shortId) }
  return { claimId: interest.claimId, services: interest.services }
}

function socketWaiter(socket: WorkerSocket): Waiter {
  let kept: Wake | null = null
  let notify: (() => void) | null = null
  const wake = (next: Wake) => {
    kept = next
    notify?.()
  }
  socket.accept()
  socket.addEventListener('message', ({ data }) => {
    wake(data === 'replaced' ? { why: 'replaced' } : { why: 'rung', ended: [] })
  })
  // Closed without a word: the object was moved or redeployed. A look tells what was missed; from then on, time does.
  let isLost = false
  const lost = () => {
    isLost = true
    notify?.()
  }
  socket.addEventListener('close', lost)
  socket.addEventListener('error', lost)

  return {
    async woken(maxMs, signal) {
      const waitMs = isLost ? Math.min(maxMs, LOOK_WITHOUT_BELL_MS) : maxMs
      if (kept === null) await pause(waitMs, signal, (resolve) => (notify = resolve))
      notify = null
      const wakeUp = kept ?? { why: 'time' }
      if (wakeUp.why === 'rung') kept = null
      return wakeUp
    },
    leave: () => socket.close(),
  }
}

function timedWaiter(): Waiter {
  return {
    async woken(maxMs, signal) {
      await pause(Math.min(maxMs, LOOK_WITHOUT_BELL_MS), signal)
      return { why: 'time' }
    },
    leave() {},
  }
}

/** Waits for the time, the signal or the call of what `listen` is given. */
async function pause(
  ms: number,
  signal: AbortSignal | undefined,
  listen?: (resolve: () => void) => void,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  const stop = () => resolve()
  signal?.addEventListener('abort', stop, { once: true })
  listen?.(resolve)
  await promise
  clearTimeout(timer)
  signal?.removeEventListener('abort', stop)
}
