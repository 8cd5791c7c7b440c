// The bell on Cloudflare, as a Worker uses it: by calls to its objects, and by a socket for each poll that waits.
//
// A poll waits in its Worker, where waiting is free, on a WebSocket to the object of its namespace. A ring is one call,
// which finds the sockets that it concerns, and carries small outcomes to those who wait for them. The alarm is kept by one
// object for all namespaces, since the sweep rules over all of them. Its time is on disk: it outlives every isolate.
import type {
  DurableObjectNamespace,
  Response as WorkerResponse,
  WebSocket as WorkerSocket,
} from '@cloudflare/workers-types'
import { sha256 } from '../protocol/digest.ts'
import { CallplaneError } from '../protocol/errors.ts'
import { decodeBody, encodeBody } from '../protocol/wire.ts'
import { ARM_MS } from './arms.ts'
import type { Bell, EndedCall, Interest, Ring, Wake, Waiter } from './bell.ts'
import { failuresTold, type BellFailure } from './failures.ts'
import { inTime, untilHeard } from './in-time.ts'
import {
  NOTHING,
  CALM_HEADER,
  QUIET_HEADER,
  shortId,
  TELL_HEADER,
  type ArmAnswer,
  type Attachment,
  type Carried,
  type SleepingBell,
} from './sleeping-bell.workerd.ts'

/** A bell that cannot be reached is replaced by looks this far apart. */
const LOOK_WITHOUT_BELL_MS = 5_000
/** Of which an isolate remembers that it armed their bells. */
const MAX_NAMESPACES = 10_000
/** Namespaces have no such name. */
const ALARM_OBJECT = ':alarm'

/** An outcome up to this size goes with its ring, so that nobody looks for it. A larger one is asked of the database. */
const MAX_CARRIED_BYTES = 16 * 1024
/** Of all that one ring carries. */
const MAX_RING_BYTES = 256 * 1024

export interface DurableObjectBellOptions {
  /** Told of failures, of each kind once a minute at most. Default: nobody is. */
  onFailure?: (failure: BellFailure) => void
}

export interface DurableObjectBell extends Bell {
  /** Namespaces that somebody watched when this isolate last armed their bells. */
  readonly watched: ReadonlySet<string>
}

/** The bell of a Worker. */
export function durableObjectBell<Env>(
  objects: DurableObjectNamespace<SleepingBell<Env>>,
  { onFailure = () => {} }: DurableObjectBellOptions = {},
): DurableObjectBell {
  const failed = failuresTold(onFailure)
  /** The answer of an object, in time. */
  async function answered<T>(object: string, answer: Promise<T>): Promise<T> {
    try {
      return await inTime(answer)
    } catch (error) {
      failed({ namespace: object === ALARM_OBJECT ? null : object, error })
      throw error
    }
  }

  /** When the alarm rings at the latest, as far as this isolate knows: asking for what is known costs a request. */
  let alarmAtMs = -Infinity
  /** When this isolate last armed the bell of a namespace. */
  const armedAtMs = new Map<string, number>()
  const watched = new Set<string>()

  return {
    watched,
    lookEveryMs: Number.POSITIVE_INFINITY,

    async arm(namespace) {
      const nowMs = Date.now()
      if (nowMs - (armedAtMs.get(namespace) ?? -Infinity) < ARM_MS / 2) return
      let answer: ArmAnswer | undefined // none from an object of before there was one
      try {
        ;[answer] = await Promise.all(
          [namespace, ALARM_OBJECT].map((object) => answered(object, objects.getByName(object).arm())),
        )
      } catch (cause) {
        throw new CallplaneError('overloaded', 'the bell of the namespace does not answer', { cause })
      }
      if (armedAtMs.size > MAX_NAMESPACES) {
        armedAtMs.clear()
        watched.clear()
      }
      armedAtMs.set(namespace, nowMs)
      if (answer?.isWatched === true) watched.add(namespace)
      else watched.delete(namespace)
    },

    async isQuietSince(namespace, atMs) {
      const agoMs = performance.now() - atMs
      try {
        return await answered(namespace, objects.getByName(namespace).isQuietSince(Date.now() - agoMs))
      } catch {
        return false
      }
    },

    async isSwept() {
      try {
        return await answered(ALARM_OBJECT, objects.getByName(ALARM_OBJECT).isSwept())
      } catch {
        return false
      }
    },

    async swept(agoMs, nextMs) {
      const nowMs = Date.now()
      const swept = { atMs: nowMs - agoMs, wantedAtMs: nowMs + (nextMs ?? Number.MAX_SAFE_INTEGER / 2) }
      try {
        await answered(ALARM_OBJECT, objects.getByName(ALARM_OBJECT).swept(swept))
      } catch {
        // The next sweep says so.
      }
    },

    async join(interest) {
      try {
        const stub = objects.getByName(interest.namespace)
        const attachment = JSON.stringify(await attachmentOf(interest))
        const headers = { upgrade: 'websocket', 'callplane-interest': attachment }
        const response = await answered<WorkerResponse>(interest.namespace, stub.fetch('https://bell/', { headers }))
        if (response.webSocket === null) throw new Error(`the bell answered ${response.status}`)
        return socketWaiter(response.webSocket, {
          isQuiet: response.headers.get(QUIET_HEADER) === '1',
          isCalm: response.headers.get(CALM_HEADER) === '1',
          isToTell: response.headers.get(TELL_HEADER) === '1',
        })
      } catch {
        return timedWaiter()
      }
    },

    async ring({ namespace, due = [], ended = [] }: Ring) {
      // Later ones are the alarm's.
      const later = due.flatMap(({ inMs = 0 }) => (inMs > 0 ? [inMs] : []))
      if (later.length > 0) await this.alarm(Math.min(...later))
      const now = due.filter(({ inMs = 0 }) => inMs <= 0).map(({ service, jobs }) => ({ service, jobs }))
      if (now.length === 0 && ended.length === 0) return
      const carried = carriedOf(ended)
      try {
        await answered(
          namespace,
          untilHeard(() => objects.getByName(namespace).ring(now, carried)),
        )
      } catch {
        // Overloaded for longer: a look finds what was not rung for.
      }
    },

    async alarm(inMs) {
      const nowMs = Date.now()
      if (alarmAtMs > nowMs && alarmAtMs <= nowMs + inMs) return
      try {
        await answered(
          ALARM_OBJECT,
          untilHeard(() => objects.getByName(ALARM_OBJECT).alarmBy(inMs)),
        )
        alarmAtMs = nowMs + inMs
      } catch {
        // The cron trigger and the polls find what the alarm does not.
      }
    },
  }
}

/** The calls that ended, with their outcomes as far as they are small. */
function carriedOf(ended: readonly EndedCall[]): Carried[] {
  let bytes = 0
  return ended.map((call): Carried => {
    if (call.outcome === null) return { id: call.id }
    const message = encodeBody(call)
    if (message.length > MAX_CARRIED_BYTES || bytes + message.length > MAX_RING_BYTES) return { id: call.id }
    bytes += message.length
    return { id: call.id, message }
  })
}

async function attachmentOf(interest: Interest): Promise<Attachment> {
  if ('calls' in interest) return { calls: interest.calls.map(shortId) }
  const { claimId, services, kind } = interest
  const digest = await sha256(new TextEncoder().encode(kind))
  return { claimId, services, kind: Array.from(digest.subarray(0, 12), (byte) => byte.toString(36)).join('.') }
}

function socketWaiter(
  socket: WorkerSocket,
  { isQuiet, isCalm, isToTell }: { isQuiet: boolean; isCalm: boolean; isToTell: boolean },
): Waiter {
  let kept: Wake | null = null
  let notify: (() => void) | null = null
  const wake = (next: Wake) => {
    kept = next
    notify?.()
  }
  // Else a message is a Blob, which is read later.
  socket.binaryType = 'arraybuffer'
  socket.accept()
  socket.addEventListener('message', ({ data }) => {
    if (typeof data !== 'string') {
      const ended = [decodeBody(new Uint8Array(data)) as EndedCall] // as carriedOf wrote it
      // A ring that is kept and says to look is not made less by one that says what it found.
      const before = kept?.why === 'rung' ? kept.ended : []
      wake({ why: 'rung', ended: kept?.why === 'rung' && before.length === 0 ? [] : [...before, ...ended] })
    } else {
      wake(data === 'replaced' ? { why: 'replaced' } : { why: 'rung', ended: [] })
    }
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
    isQuiet,
    isCalm,
    foundNothing() {
      if (!isToTell || isLost) return
      try {
        socket.send(NOTHING)
      } catch {
        // The object has moved: another look will tell it.
      }
    },
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
    isQuiet: false,
    isCalm: false,
    foundNothing() {},
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
