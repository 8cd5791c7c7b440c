// Making calls: those of one tick share a request; one without an answer is sent again, with the same ids, so that a call
// is made once however often it is sent. While the plane does not answer, all that waits shares one retry, and new calls
// join it: an outage costs a process a few requests, not one a call.
import type { CallFrame, CallRequest } from '../protocol/calls.ts'
import { argsDigest } from '../protocol/digest.ts'
import { CallplaneError, fromWireError, type WireError } from '../protocol/errors.ts'
import { MAX_BATCH, MAX_BODY_BYTES, MAX_WAIT_MS } from '../protocol/limits.ts'
import { Backoff } from './backoff.ts'
import { gatherer } from './gather.ts'
import { sha256Now } from './runtime.ts'
import { unreachable } from './retry.ts'
import { CREATE_CALLS } from './routes.ts'
import { asUnanswered, isPassing, Unanswered, type Transport } from './transport.ts'
import type { OutcomeStream, Waits } from './wait.ts'

/** A call on its way to the plane. */
export interface NewCall {
  /** All but the digest, which is made on the way. */
  readonly request: Omit<CallRequest, 'argsDigest'>
  /** More than its size in a request. */
  readonly bytes: number
  readonly madeAtMs: number
  readonly giveUpAfterMs: number
  /** Whether the request that makes it should wait for its end. */
  readonly isOutcomeWanted: boolean
  /** It is on disk at the plane. */
  accepted(): void
  refused(error: CallplaneError): void
  digest?: Uint8Array
  /** How often it was sent; from the first time on the plane may have it. */
  sends: number
  isDropped: boolean
}

/** A request under way may still bring the answer, for so long after the time of its call is over. */
const IN_FLIGHT_GRACE_MS = 10_000

const ROOM_BYTES = MAX_BODY_BYTES - 1_024

/** While so many requests with calls are on their way, new calls wait for each other, for so long at most. */
const ENOUGH_UNDER_WAY = 2
const GATHER_MS = 2

export class Creates {
  readonly #transport: Transport
  readonly #waits: Waits
  readonly #backoff: Backoff
  readonly #sent = new Set<NewCall>()
  /** Waits for the next try. */
  readonly #held = new Set<NewCall>()
  /** About to be sent together. */
  readonly #gathered: NewCall[] = []
  #gathering: ReturnType<typeof setTimeout> | undefined
  /** Requests of which nothing was heard yet. */
  readonly #underWay = new Set<OutcomeStream>()
  #retry: ReturnType<typeof setTimeout> | undefined
  #last: Unanswered | null = null

  /** Tries under way that ask whether the plane is back. */
  #probes = 0

  /** Sends a call with all others of this tick. */
  readonly add: (call: NewCall) => void = gatherer<NewCall>((calls) => {
    const isAsked = this.#retry !== undefined || this.#probes > 0
    if (this.#backoff.failures > 0 && isAsked) return calls.forEach((call) => this.#held.add(call))
    this.#gathered.push(...calls)
    if (this.#underWay.size < ENOUGH_UNDER_WAY) this.#sendGathered()
    else this.#gathering ??= setTimeout(() => this.#sendGathered(), GATHER_MS)
  })

  constructor(transport: Transport, waits: Waits) {
    this.#transport = transport
    this.#waits = waits
    this.#backoff = new Backoff(transport.budget)
  }

  /** Not sent (again). Whether the plane may have it all the same. */
  drop(call: NewCall): boolean {
    call.isDropped = true
    this.#held.delete(call)
    return call.sends > 0
  }

  /** Gives up what waited too long. Whether there is more to sweep. */
  sweep(nowMs: number): boolean {
    for (const call of this.#held) {
      if (nowMs - call.madeAtMs >= call.giveUpAfterMs) this.#giveUp(call, nowMs)
    }
    for (const call of this.#sent) {
      if (nowMs - call.madeAtMs >= call.giveUpAfterMs + IN_FLIGHT_GRACE_MS) this.#giveUp(call, nowMs)
    }
    return this.#held.size + this.#sent.size > 0
  }

  shut(closed: CallplaneError): void {
    clearTimeout(this.#retry)
    for (const call of [...this.#gathered.splice(0), ...this.#held, ...this.#sent]) call.refused(closed)
    this.#held.clear()
    this.#sent.clear()
  }

  #giveUp(call: NewCall, nowMs: number): void {
    this.drop(call)
    this.#sent.delete(call)
    call.refused(unreachable(this.#transport.url, nowMs - call.madeAtMs, this.#last))
  }

  #sendGathered(): void {
    clearTimeout(this.#gathering)
    this.#gathering = undefined
    this.#send(this.#gathered.splice(0))
  }

  /** In as few requests as their limits allow. */
  #send(calls: Iterable<NewCall>): void {
    let part: NewCall[] = []
    let bytes = 0
    for (const call of calls) {
      if (part.length === MAX_BATCH || bytes + call.bytes > ROOM_BYTES) {
        void this.#create(part)
        part = []
        bytes = 0
      }
      part.push(call)
      bytes += call.bytes
    }
    void this.#create(part)
  }

  /** Never rejects. */
  async #create(calls: readonly NewCall[]): Promise<void> {
    const open = new Map<string, NewCall>()
    for (const call of calls) {
      if (call.isDropped) continue
      call.sends++
      open.set(call.request.id, call)
      this.#sent.add(call)
    }
    if (open.size === 0) return
    const wanted = [...open.values()].filter((call) => call.isOutcomeWanted).map((call) => call.request.id)
    // After a failure, whether the plane is back is asked without waiting for the ends of calls.
    const isProbe = this.#backoff.failures > 0
    const waitMs = wanted.length > 0 && !isProbe ? MAX_WAIT_MS : 0
    const stream = this.#waits.open(wanted, { isAccepted: false, hasOthers: waitMs > 0 && wanted.length < open.size })
    this.#underWay.add(stream)
    const onFrame = (frame: CallFrame) => {
      this.#underWay.delete(stream)
      if ('accepted' in frame) this.#accept(open, frame.accepted, stream)
      else this.#waits.receive(stream, frame)
    }
    let failure: Unanswered | CallplaneError | null = null
    if (isProbe) this.#probes++
    try {
      const requests = await Promise.all([...open.values()].map(withDigest))
      const patience = { waitMs, controller: stream.controller }
      await this.#transport.stream(CREATE_CALLS, { calls: requests, waitMs }, onFrame, patience)
    } catch (error) {
      failure = error instanceof CallplaneError ? error : asUnanswered(error)
    }
    this.#underWay.delete(stream)
    if (isProbe) this.#probes--
    this.#notAccepted(open, failure, stream)
    this.#waits.close(stream, failure instanceof Unanswered ? failure : null)
  }

  #accept(open: Map<string, NewCall>, accepted: readonly Accepted[], stream: OutcomeStream): void {
    let fault: Unanswered | null = null
    const sent = open.size
    for (const { id, error: wire } of accepted) {
      const call = open.get(id)
      if (call === undefined) continue
      const error = wire && fromWireError(wire)
      if (error !== undefined && isPassing(error)) {
        fault = new Unanswered(`${error.code}: ${error.message}`)
        continue
      }
      open.delete(id)
      this.#sent.delete(call)
      if (error === undefined) call.accepted()
      else call.refused(error)
    }
    if (open.size < sent) this.#answered()
    this.#notAccepted(open, fault, stream)
    this.#waits.accept(stream)
  }

  /** The plane takes calls: what was held goes out, in steps that double while it keeps up. */
  #answered(): void {
    this.#backoff.succeeded()
    if (this.#held.size === 0) return
    clearTimeout(this.#retry)
    this.#retry = undefined
    this.#sendHeld(2 * MAX_BATCH)
  }

  #sendHeld(max: number): void {
    const calls: NewCall[] = []
    for (const call of this.#held) {
      if (calls.length >= max) break
      this.#held.delete(call)
      calls.push(call)
    }
    this.#send(calls)
  }

  /** Empties `open`: what is in it is sent again later, unless that is hopeless. */
  #notAccepted(open: Map<string, NewCall>, failure: Unanswered | CallplaneError | null, stream: OutcomeStream): void {
    if (open.size === 0) return
    const calls = [...open.values()]
    open.clear()
    for (const call of calls) {
      this.#sent.delete(call)
      stream.open.delete(call.request.id)
    }
    if (failure instanceof CallplaneError) return this.#refused(calls, failure)
    if (failure?.refusal) return this.#refused(calls, failure.refusal)
    this.#last = failure ?? new Unanswered('the answer does not name the call')
    for (const call of calls) if (!call.isDropped) this.#held.add(call)
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined
      this.#sendHeld(MAX_BATCH)
    }, this.#backoff.failed(this.#last.retryAfterMs))
  }

  /** A request refused as a whole is cut, so that one bad call does not fail those that shared its tick. */
  #refused(calls: readonly NewCall[], error: CallplaneError): void {
    const parts = partsAfter(calls, error)
    if (parts.length > 1) for (const part of parts) void this.#create(part)
    else for (const call of calls) call.refused(error)
  }
}

interface Accepted {
  id: string
  error?: WireError
}

async function withDigest(call: NewCall): Promise<CallRequest> {
  call.digest ??= sha256Now(call.request.args) ?? (await argsDigest(call.request.args))
  return { ...call.request, argsDigest: call.digest }
}

/** The calls in the parts that may fare differently: a key may cover some services, and a limit some of the calls. */
function partsAfter(calls: readonly NewCall[], { code }: CallplaneError): NewCall[][] {
  if (code === 'unauthorized' || code === 'plane_unreachable' || code === 'closed') return [[...calls]]
  if (code === 'forbidden') return [...Map.groupBy(calls, (call) => call.request.service).values()]
  const middle = calls.length >> 1
  return [calls.slice(0, middle), calls.slice(middle)].filter((part) => part.length > 0)
}
