// The bell of several processes over one Postgres: each rings its own waiters, and tells the others by NOTIFY.
//
//   process A ── commit ── rings its own waiters ──┐
//                                                  ├── NOTIFY, gathered ──▶ process B rings its own waiters
//   process A ── commit ── rings its own waiters ──┘
//
// The NOTIFY comes after the commit, in a statement of its own: within the transition it would make all commits queue for
// one lock. One is under way at a time, and the next carries all that came meanwhile. A process that is alone sends none.
import { SqlError } from '../db/sql.ts'
import { later } from './alarm.ts'
import { ARM_MS } from './arms.ts'
import type { Bell, Due, Waiter } from './bell.ts'
import { MAX_RING_AHEAD_MS, type LocalBell } from './in-process.ts'
import { addNews, addRing, textOf, textsOf, type Message, type News } from './messages.ts'

/** What carries texts between the processes of a plane. */
export interface Channel {
  /** To all who listen, this process included. */
  send(text: string): Promise<void>
  /** Resolves once texts arrive; rejects where none ever will. `onLost` comes when they no longer do. */
  listen(onText: (text: string) => void, onLost: () => void): Promise<() => Promise<void>>
  /** How many processes listen now, this one included. */
  countListeners(): Promise<number>
}

/** Others that died without a word are not told for ever. */
const COUNT_EVERY_MS = 30_000
/** While nothing is heard, polls look this often for what other processes wrote. */
const LOOK_EVERY_MS = 500
/** Longer and longer where it never works: CockroachDB has no LISTEN. */
const RELISTEN_MS = 1_000
const MAX_RELISTEN_MS = 60_000
/** After a NOTIFY failed, what it was to carry goes with the next. */
const RESEND_MS = 1_000
/** The bell of a process is armed for all namespaces at once. */
const ANY = ''

export interface SharedBell extends Bell {
  /** Asks all other processes to share the live queries of a namespace. Whether there may be any. Never rejects. */
  invite(namespace: string): Promise<boolean>
  close(): Promise<void>
}

/** `invited`: another process asks that. */
export function sharedBell(
  local: LocalBell,
  channel: Channel,
  { invited = () => {} }: { invited?: (namespace: string) => void } = {},
): SharedBell {
  const self = crypto.randomUUID()
  let untold: News = new Map()
  let isHearing = false
  /** The database has no NOTIFY, so that nobody hears: everybody looks, and nobody is ever quiet. */
  let isHopeless = false
  let isSending = false
  let resend: ReturnType<typeof setTimeout> | undefined
  let isOver = false
  let isAccompanied = true
  let countedAtMs = -Infinity
  let stopListening: (() => Promise<void>) | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let relistenMs = RELISTEN_MS
  /** When the others were last told that this process writes. */
  let armedAtMs = -Infinity

  async function listen(): Promise<void> {
    let isLost = false
    const lost = () => {
      if (isLost || isOver) return
      isLost = true
      isHearing = false
      stopListening = null
      local.lookAgain()
      retry = later(() => void listen(), relistenMs)
      relistenMs = Math.min(relistenMs * 2, MAX_RELISTEN_MS)
    }
    let stop: (() => Promise<void>) | undefined
    try {
      stop = await channel.listen(receive, lost)
      if (isOver) return await stop()
      stopListening = stop
      isHearing = true
      relistenMs = RELISTEN_MS
      // What was rung for before is found by a look, and who armed the bell meanwhile is not known.
      await local.arm(ANY)
      local.lookAgain()
      await channel.send(textOf({ from: self, isHello: true }))
    } catch {
      // Listening without having said so would be no company to the others.
      await stop?.().catch(() => {})
      lost()
    }
  }

  function receive(text: string): void {
    const message = JSON.parse(text) as Message // from a process of our own
    const { from, isHello, look = [], due = [], ended = [] } = message
    if (from === self) return
    isAccompanied = true
    void local.arm(ANY)
    if (isHello) {
      countedAtMs = performance.now()
      armedAtMs = -Infinity // it has not heard
    }
    if (message.invited !== undefined) invited(message.invited)
    for (const namespace of look) local.lookAgain(namespace)
    for (const [namespace, service, jobs] of due) void local.ring({ namespace, due: [{ service, jobs }] })
    for (const [namespace, of] of Map.groupBy(ended, ([name]) => name)) {
      void local.ring({ namespace, ended: of.map(([, id]) => ({ id, outcome: null })) })
    }
  }

  /** Asked of the database now and then. Who does not hear others come must believe that they are there. */
  async function hasCompany(): Promise<boolean> {
    if (!isHearing) return true
    if (performance.now() - countedAtMs >= COUNT_EVERY_MS) {
      isAccompanied = (await channel.countListeners()) > 1
      countedAtMs = performance.now()
    }
    return isAccompanied
  }

  /** Never rejects. */
  async function tellOthers(): Promise<void> {
    if (isHopeless || isOver) untold.clear()
    if (isSending || resend !== undefined) return
    isSending = true
    while (untold.size > 0) {
      const news = untold
      untold = new Map()
      try {
        if (await hasCompany()) for (const text of textsOf(self, news)) await channel.send(text)
      } catch (error) {
        isHopeless ||= hasNoNotify(error)
        addNews(news, untold)
        untold = news
        resend = later(() => {
          resend = undefined
          void tellOthers()
        }, RESEND_MS)
        break
      }
    }
    isSending = false
  }

  void listen()

  return {
    get lookEveryMs() {
      return isHearing ? Number.POSITIVE_INFINITY : LOOK_EVERY_MS
    },
    async join(interest) {
      const waiter = await local.join(interest)
      return isHearing ? waiter : neverQuiet(waiter)
    },
    alarm: (inMs) => local.alarm(inMs),
    isQuietSince: async (namespace, atMs) => isHearing && local.isQuietSince(namespace, atMs),
    isSwept: async () => isHearing && local.isSwept(),
    swept: (agoMs, nextMs) => local.swept(agoMs, nextMs),

    async arm(namespace) {
      await local.arm(namespace)
      const nowMs = performance.now()
      if (isHopeless || nowMs - armedAtMs < ARM_MS / 2) return
      try {
        if (await hasCompany()) await channel.send(textOf({ from: self }))
      } catch (error) {
        isHopeless = hasNoNotify(error)
        if (!isHopeless) throw error
      }
      armedAtMs = nowMs
    },

    async ring({ namespace, due: all = [], ended = [] }) {
      const due: Due[] = []
      for (const one of all) {
        const { service, jobs, inMs = 0 } = one
        if (inMs <= 0) due.push(one)
        else if (inMs > MAX_RING_AHEAD_MS) await local.alarm(inMs)
        else later(() => void this.ring({ namespace, due: [{ service, jobs }] }), inMs)
      }
      if (due.length + ended.length === 0) return
      await local.ring({ namespace, due, ended })
      addRing(untold, { namespace, due, ended })
      void tellOthers()
    },

    async invite(namespace) {
      try {
        if (isHopeless || !(await hasCompany())) return false
        await channel.send(textOf({ from: self, invited: namespace }))
        return true
      } catch {
        return false // What goes on is invited for again.
      }
    },

    async close() {
      isOver = true
      clearTimeout(retry)
      clearTimeout(resend)
      local.close()
      const stop = stopListening
      stopListening = null
      await stop?.()
    },
  }
}

/** No such function, or no such feature, as CockroachDB says. */
function hasNoNotify(error: unknown): boolean {
  return error instanceof SqlError && (error.code === '42883' || error.code === '0A000')
}

/** While nothing is heard, nothing is known. */
function neverQuiet(waiter: Waiter): Waiter {
  return {
    isQuiet: false,
    isCalm: false,
    foundNothing() {},
    woken: (maxMs, signal) => waiter.woken(maxMs, signal),
    leave: (isUnheard) => waiter.leave(isUnheard),
    ...(waiter.handed === undefined ? {} : { handed: waiter.handed }),
  }
}
