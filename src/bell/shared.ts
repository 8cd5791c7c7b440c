// The bell of several processes over one Postgres: each rings its own waiters, and tells the others by NOTIFY.
//
//   process A ── commit ── rings its own waiters ──┐
//                                                  ├── NOTIFY, gathered ──▶ process B rings its own waiters
//   process A ── commit ── rings its own waiters ──┘
//
// The NOTIFY comes after the commit, in a statement of its own: within the transition it would make all commits queue for
// one lock. One is under way at a time, and the next carries all that came meanwhile. A process that is alone sends none.
import { later } from './alarm.ts'
import { ARM_MS } from './arms.ts'
import type { Bell, Due, Ring, Waiter } from './bell.ts'
import { MAX_RING_AHEAD_MS, type LocalBell } from './in-process.ts'

/** What carries texts between the processes of a plane. */
export interface Channel {
  /** To all who listen, this process included. */
  send(text: string): Promise<void>
  /** Resolves once texts arrive; rejects where none ever will. `onLost` comes once, when they no longer do. */
  listen(onText: (text: string) => void, onLost: () => void): Promise<() => Promise<void>>
  /** How many processes listen now, this one included. */
  countListeners(): Promise<number>
}

/** Postgres takes 7,999 bytes; a ring is a few hundred at most, and ids are ASCII. */
const MAX_TEXT_CHARS = 7_000
/** A ring for more than this says "look", which is cheaper for all. */
const MAX_ENDED = 1_000
/** Others that died without a word are not told for ever. */
const COUNT_EVERY_MS = 30_000
/** While nothing is heard, polls look this often for what other processes wrote. */
const LOOK_EVERY_MS = 500
/** Longer and longer where it never works: CockroachDB has no LISTEN. */
const RELISTEN_MS = 1_000
const MAX_RELISTEN_MS = 60_000

/** The bell of a process is armed for all namespaces at once. */
const ANY = ''

/** What goes over the channel: from whom, and [namespace, due, ids of ended calls]; null in their places is "look". */
interface Message {
  from: string
  /** Of a process that has just begun to listen: who hears it has company. */
  hello?: true
  // Whatever it says, a message arms the bells of all who hear it.
  rings?: [namespace: string, due: [service: string, jobs: number][] | null, ended: string[] | null][]
}

export function sharedBell(local: LocalBell, channel: Channel): Bell & { close(): Promise<void> } {
  const self = crypto.randomUUID()
  const outgoing: Ring[] = []
  let isHearing = false
  let isSending = false
  let isOver = false
  let hasCompany = true
  let countedAtMs = -Infinity
  let stopListening: (() => Promise<void>) | null = null
  let retry: ReturnType<typeof setTimeout> | undefined
  let relistenMs = RELISTEN_MS
  /** When the others were last told that this process writes. */
  let armedAtMs = -Infinity

  async function listen(): Promise<void> {
    try {
      const stop = await channel.listen(receive, lost)
      if (isOver) return await stop()
      stopListening = stop
      isHearing = true
      relistenMs = RELISTEN_MS
      // What was rung for before is found by a look, and who armed the bell meanwhile is not known.
      await local.arm(ANY)
      local.lookAgain()
      await channel.send(JSON.stringify({ from: self, hello: true } satisfies Message))
    } catch {
      lost()
    }
  }

  function lost(): void {
    isHearing = false
    stopListening = null
    if (isOver) return
    local.lookAgain()
    retry = later(() => void listen(), relistenMs)
    relistenMs = Math.min(relistenMs * 2, MAX_RELISTEN_MS)
  }

  function receive(text: string): void {
    const { from, hello, rings = [] } = JSON.parse(text) as Message // from a process of our own
    if (from === self) return
    hasCompany = true
    void local.arm(ANY)
    if (hello) {
      countedAtMs = performance.now()
      armedAtMs = -Infinity // it has not heard
    }
    for (const [namespace, due, ended] of rings) {
      if (due === null || ended === null) local.lookAgain(namespace)
      else {
        void local.ring({
          namespace,
          due: due.map(([service, jobs]) => ({ service, jobs })),
          ended: ended.map((id) => ({ id, outcome: null })),
        })
      }
    }
  }

  /** Never rejects: what cannot be told is found by the looks of the others, which lose their connections too. */
  async function sendAll(): Promise<void> {
    if (isSending || !hasCompany) return void (hasCompany || outgoing.splice(0))
    isSending = true
    while (outgoing.length > 0) {
      try {
        await countOthers()
        if (!hasCompany) break
        for (const text of textsOf(self, outgoing.splice(0))) await channel.send(text)
      } catch {
        break
      }
    }
    outgoing.length = 0
    isSending = false
  }

  async function countOthers(): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - countedAtMs < COUNT_EVERY_MS) return
    countedAtMs = nowMs
    hasCompany = (await channel.countListeners()) > 1
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
      if (nowMs - armedAtMs < ARM_MS / 2) return
      await countOthers()
      if (hasCompany) await channel.send(JSON.stringify({ from: self } satisfies Message))
      armedAtMs = nowMs
    },

    async ring(ring) {
      const { namespace, ended = [] } = ring
      const due: Due[] = []
      for (const one of ring.due ?? []) {
        const { service, jobs, inMs = 0 } = one
        if (inMs <= 0) due.push(one)
        else if (inMs > MAX_RING_AHEAD_MS) await local.alarm(inMs)
        else later(() => void this.ring({ namespace, due: [{ service, jobs }] }), inMs)
      }
      if (due.length + ended.length === 0) return
      await local.ring({ namespace, due, ended })
      if (!hasCompany && performance.now() - countedAtMs < COUNT_EVERY_MS) return
      hasCompany = true
      outgoing.push({ namespace, due, ended })
      void sendAll()
    },
    async close() {
      isOver = true
      clearTimeout(retry)
      local.close()
      const stop = stopListening
      stopListening = null
      await stop?.()
    },
  }
}

/** While nothing is heard, nothing is known. */
function neverQuiet(waiter: Waiter): Waiter {
  return {
    isQuiet: false,
    foundNothing() {},
    woken: (maxMs, signal) => waiter.woken(maxMs, signal),
    leave: () => waiter.leave(),
  }
}

/** The rings as few texts, each of which fits. */
function textsOf(from: string, rings: readonly Ring[]): string[] {
  const texts: string[] = []
  let fitting: NonNullable<Message['rings']> = []
  let chars = 0
  const flush = () => {
    if (fitting.length > 0) texts.push(JSON.stringify({ from, rings: fitting } satisfies Message))
    fitting = []
    chars = 0
  }
  for (const [namespace, of] of Map.groupBy(rings, (ring) => ring.namespace)) {
    const due = sumByService(of.flatMap((ring) => ring.due ?? []))
    const ended = of.flatMap((ring) => ring.ended ?? []).map(({ id }) => id)
    if (ended.length > MAX_ENDED) {
      fitting.push([namespace, null, null])
      continue
    }
    const parts: [due: [string, number][], ended: string[]][] = [
      ...due.map((one): [[string, number][], string[]] => [[one], []]),
      ...ended.map((id): [[string, number][], string[]] => [[], [id]]),
    ]
    let open: [string, [string, number][], string[]] | null = null
    for (const [services, ids] of parts) {
      const size = services.reduce((sum, [service]) => sum + service.length + 16, 0) + ids.length * 40
      if (chars + size + namespace.length + 20 > MAX_TEXT_CHARS) {
        flush()
        open = null
      }
      if (open === null) {
        open = [namespace, [], []]
        fitting.push(open)
        chars += namespace.length + 20
      }
      open[1].push(...services)
      open[2].push(...ids)
      chars += size
    }
  }
  flush()
  return texts
}

function sumByService(due: readonly Due[]): [service: string, jobs: number][] {
  const sums = new Map<string, number>()
  for (const { service, jobs } of due) sums.set(service, (sums.get(service) ?? 0) + jobs)
  return [...sums]
}
