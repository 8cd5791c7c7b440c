// Who lives in the world: runners that serve, callers that call, and the accidents that befall them.
import type { Callplane } from '../../src/sdk/index.ts'
import { codeOf } from './checker.ts'
import { functionsOf, sleep, type Result } from './functions.ts'
import { planOf, TENANTS, type Plan, type Tenant } from './plan.ts'
import type { Process } from './scheduler.ts'
import type { World } from './world.ts'

const SERVICE = 'work'
/** The SDK takes an accepted call for lost so long after its deadline. */
const DEADLINE_GRACE_MS = 10_000

export class People {
  readonly #world: World
  #nextCall = 0
  /** Calls that someone waits for. */
  #open = 0
  readonly #openOf = new Map<Process, number>()
  readonly #served = new Set<Tenant>()
  #isHealed = false
  readonly #closing = new Map<Callplane, Process>()
  readonly #clients: { process: Process; plane: Callplane }[] = []

  constructor(world: World) {
    this.#world = world
  }

  /** Calls copy the policies of their functions: those must be known before the first. */
  serve(): void {
    const { scenario } = this.#world
    for (const tenant of TENANTS) for (let count = 0; count < scenario.runners; count++) this.#startRunner(tenant)
  }

  get isServed(): boolean {
    return this.#served.size === TENANTS.length
  }

  begin(): void {
    const { scenario } = this.#world
    for (let count = 0; count < scenario.callers; count++) this.#startCaller()
    if (scenario.crashEveryMs.plane < Infinity) this.#crashPlanes()
  }

  get isDone(): boolean {
    return this.#nextCall >= this.#world.scenario.calls && this.#open === 0
  }

  get areCallsMade(): boolean {
    return this.#nextCall >= this.#world.scenario.calls
  }

  get openCalls(): number {
    return this.#open
  }

  heal(): void {
    this.#isHealed = true
  }

  /** Everybody begins to close. */
  close(): void {
    const { scheduler } = this.#world
    for (const { process, plane } of this.#clients) {
      if (process.isDead) continue
      this.#closing.set(plane, process)
      void scheduler.within(process, () => plane.close()).then(() => this.#closing.delete(plane))
    }
  }

  /** Whether all that have not died meanwhile have closed: who was frozen goes on, and may crash before it is done. */
  get areClosed(): boolean {
    return [...this.#closing.values()].every((process) => process.isDead)
  }

  #startRunner(tenant: Tenant): void {
    const world = this.#world
    const { scheduler, scenario } = world
    const process = world.process(`runner of ${tenant}`)
    const plane = world.client(process, tenant)
    this.#clients.push({ process, plane })
    const crash = () => this.#crashRunner(process, tenant)
    scheduler.within(process, () => {
      const functions = functionsOf(world, tenant, () => void scheduler.after(0, null, crash))
      const service = serve(plane, functions, scenario.slots)
      void service.start().then(
        () => this.#served.add(tenant),
        (error: unknown) => {
          // The world ended just as it began.
          if (codeOf(error) !== 'closed') throw error
        },
      )
      this.#resize(process, service)
    })
    world.history.note(`${process.name} starts`)
    this.#accident(scenario.crashEveryMs.runner, () => {
      if (process.isDead) return
      if (world.random.chance(scenario.freezes)) this.#freeze(process)
      else crash()
    })
  }

  /** Polls that hang no longer say what the runner can take. */
  #resize(process: Process, service: { slots: number }): void {
    const { scenario, scheduler, random } = this.#world
    this.#accident(scenario.resizeEveryMs, () => {
      if (process.isDead) return
      const slots = Math.max(1, Math.floor(scenario.slots * random.pick([0.5, 1, 2])))
      if (!process.isFrozen) scheduler.within(process, () => (service.slots = slots))
      this.#resize(process, service)
    })
  }

  #crashRunner(process: Process, tenant: Tenant): void {
    const { scheduler, history, random } = this.#world
    if (process.isDead) return
    history.note(`${process.name} crashes`)
    scheduler.kill(process)
    scheduler.after(random.int(100, 5_000), null, () => this.#startRunner(tenant))
  }

  /** It does nothing for a while, and goes on as if no time had passed. */
  #freeze(process: Process): void {
    const { scheduler, history, random } = this.#world
    history.note(`${process.name} freezes`)
    scheduler.freeze(process)
    scheduler.after(random.int(1_000, 40_000), null, () => {
      history.note(`${process.name} goes on`)
      scheduler.thaw(process)
    })
  }

  #crashPlanes(): void {
    const again = () =>
      this.#accident(this.#world.scenario.crashEveryMs.plane, () => {
        this.#world.crashPlane()
        again()
      })
    again()
  }

  #accident(everyMs: number, happen: () => void): void {
    if (everyMs === Infinity) return
    const { scheduler, random } = this.#world
    const inMs = Math.ceil(-Math.log(1 - random.next()) * everyMs)
    scheduler.after(inMs, null, () => {
      if (!this.#isHealed) happen()
    })
  }

  #startCaller(): void {
    const { scheduler, scenario, history } = this.#world
    const process = this.#world.process('caller')
    this.#openOf.set(process, 0)
    const planes = new Map(TENANTS.map((tenant): [Tenant, Callplane] => [tenant, this.#world.client(process, tenant)]))
    for (const plane of planes.values()) this.#clients.push({ process, plane })
    scheduler.within(process, () => void this.#call(process, planes))
    this.#accident(scenario.crashEveryMs.caller, () => {
      if (this.areCallsMade) return
      history.note(`${process.name} crashes`)
      scheduler.kill(process)
      // Nobody waits for its calls any more.
      this.#open -= this.#openOf.get(process) ?? 0
      this.#startCaller()
    })
  }

  /** Makes calls in bursts until all of the world are made. Its code dies with its process. */
  async #call(process: Process, planes: ReadonlyMap<Tenant, Callplane>): Promise<void> {
    const { random, scenario } = this.#world
    const isBusy = () => (this.#openOf.get(process) ?? 0) > 10 * scenario.burst
    while (!this.areCallsMade) {
      await sleep(random.int(1, scenario.pauseMs))
      if (isBusy()) continue
      for (let left = random.int(1, scenario.burst); left > 0 && !this.areCallsMade; left--) {
        void this.#makeCall(process, planes)
      }
    }
  }

  async #makeCall(process: Process, planes: ReadonlyMap<Tenant, Callplane>): Promise<void> {
    const { random, scenario, checker, scheduler, history } = this.#world
    const { isOneAttempt, longestMs } = scenario
    const hasPoison = scenario.crashEveryMs.runner < Infinity
    const plan = planOf(random, this.#nextCall++, { isOneAttempt, longestMs, hasPoison })
    checker.planned(plan)
    this.#count(process, 1)
    const madeAtMs = scheduler.nowMs
    // Who cancels asks again after that.
    const askedAtMs = madeAtMs + plan.actAfterMs
    try {
      const value = await this.#endOf(plan, planes.get(plan.tenant))
      checker.settled(plan, { value }, { isLocal: false, askedAtMs })
    } catch (error) {
      const { deadlineMs = Infinity } = plan.options
      const isOverdue = scheduler.nowMs > madeAtMs + deadlineMs + DEADLINE_GRACE_MS
      const code = codeOf(error)
      const isLocal = code === 'plane_unreachable' || code === 'aborted' || (code === 'call_expired' && isOverdue)
      checker.settled(plan, { error }, { isLocal, askedAtMs })
      history.note(`call ${plan.number} ended for its caller with ${code}`)
    }
    this.#count(process, -1)
  }

  #count(process: Process, by: number): void {
    this.#open += by
    this.#openOf.set(process, (this.#openOf.get(process) ?? 0) + by)
  }

  async #endOf(plan: Plan, plane: Callplane | undefined): Promise<unknown> {
    if (plane === undefined) throw new Error('no such tenant')
    const { number, options, act, actAfterMs } = plan
    const remote = plane.client<ReturnType<typeof serve>>(SERVICE)[plan.function] as unknown as Remote // each takes a number
    const hasOptions = Object.keys(options).length > 0
    switch (act) {
      case 'call':
        return hasOptions ? remote.with(options)(number) : remote(number)
      case 'start':
        return (await remote.with(options).start(number)).result()
      case 'cancel': {
        const call = await remote.with(options).start(number)
        await sleep(actAfterMs)
        await call.cancel()
        return call.result()
      }
      case 'abort': {
        const controller = new AbortController()
        setTimeout(() => controller.abort(new Error('aborted')), actAfterMs)
        return remote.with({ ...options, signal: controller.signal })(number)
      }
    }
  }
}

function serve(plane: Callplane, functions: ReturnType<typeof functionsOf>, slots: number) {
  return plane.service(SERVICE, { functions, slots })
}

interface Remote {
  (number: number): Promise<Result>
  start(number: number): Promise<{ result(): Promise<Result>; cancel(): Promise<unknown> }>
  with(options: Plan['options']): Remote
}
