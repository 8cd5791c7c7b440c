// The simulated world: planes, runners and callers in one process, each with its own part of the real code.
import { inProcessBell } from '../../src/bell/in-process.ts'
import { sharedBell } from '../../src/bell/shared.ts'
import { createApp, type App } from '../../src/http/app.ts'
import { maintain, maintainAndArm } from '../../src/http/maintenance.ts'
import { SCOPES } from '../../src/protocol/endpoint.ts'
import { hashSecret, newKey } from '../../src/protocol/keys.ts'
import { Callplane } from '../../src/sdk/index.ts'
import { Bus } from './bus.ts'
import { Checker } from './checker.ts'
import { Database } from './database.ts'
import { NO_FAULTS } from './faults.ts'
import { EPOCH_MS } from './globals.ts'
import { History } from './history.ts'
import { Model } from './model/model.ts'
import type { ModelPlant } from './model/plants.ts'
import { Network, type Exchange, type Host } from './network.ts'
import { TENANTS, type Tenant } from './plan.ts'
import type { Random } from './random.ts'
import type { Scenario } from './scenario.ts'
import { Process, type Scheduler } from './scheduler.ts'

/** Jobs are kept so long after their end. Half of it must be more than a create is tried for. */
export const RETENTION_MS = 1_200_000

interface PlaneHost extends Host {
  app: App
}

export interface WorldOptions {
  scheduler: Scheduler
  random: Random
  scenario: Scenario
  plants: ReadonlySet<ModelPlant>
  isTraced: boolean
}

export class World {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly scenario: Scenario
  readonly checker: Checker
  readonly history: History
  readonly database: Database
  readonly network: Network
  readonly planes: PlaneHost[] = []
  readonly #bus: Bus
  readonly #keys = new Map<Tenant, string>()
  #count = 0

  constructor({ scheduler, random, scenario, plants, isTraced }: WorldOptions) {
    this.scheduler = scheduler
    this.random = random
    this.scenario = scenario
    const { sweepWithinMs, pickupWithinMs, toldWithinMs, isOneAttempt, hasLocks } = scenario
    this.history = new History(scheduler, isTraced)
    const nowMs = () => scheduler.nowMs
    const bounds = { retentionMs: RETENTION_MS, sweepWithinMs, pickupWithinMs, toldWithinMs, isOneAttempt }
    this.checker = new Checker({ nowMs, ...bounds })
    const model = new Model({
      epochMs: EPOCH_MS,
      random: () => random.next(),
      uuid: () => random.uuid(),
      hasLocks,
      plants,
    })
    this.database = new Database(scheduler, random, model, NO_FAULTS.sql)
    this.#watch(model)
    this.#bus = new Bus(scheduler, random, () => this.database.faults)
    this.network = new Network(scheduler, random, NO_FAULTS.network, {
      route: () => random.pick(this.planes),
      note: (text) => this.history.note(text),
    })
  }

  /** Everything that is kept of a job goes by the checker and into the history. */
  #watch(model: Model): void {
    const { checker, history } = this
    model.onBegin = (name, params, nowMs) => {
      checker.statement = { name, params, nowMs }
    }
    model.tables.onChange = (before, after) => {
      history.changed(checker.statement.name, before, after)
      checker.changed(before, after)
    }
    model.onCommit = (name, params, rows) => checker.committed(name, params, rows)
  }

  /** Keys, and the planes that know them. */
  async begin(): Promise<void> {
    for (const tenant of TENANTS) {
      const { id, secret, key } = newKey()
      const grants = JSON.stringify(SCOPES.map((scope) => ({ scope })))
      const row = { namespace: tenant, secret_hash: await hashSecret(secret), grants }
      this.database.model.tables.keys.set(id, row)
      this.#keys.set(tenant, key)
    }
    for (let count = 0; count < this.scenario.planes; count++) this.#startPlane()
    if (this.scenario.hasCron) this.#cron()
  }

  process(kind: string): Process {
    return new Process(`${kind} ${++this.#count}`)
  }

  /** An SDK of this process. Its code runs as that of the process. */
  client(process: Process, tenant: Tenant): Callplane {
    const key = this.#keys.get(tenant) ?? ''
    return this.scheduler.within(process, () => {
      return new Callplane({ url: 'http://plane.test', key, fetch: this.network.fetchOf(process) })
    })
  }

  #startPlane(): void {
    const process = this.process('plane')
    const { planes, hasAlarm } = this.scenario
    const app = this.scheduler.within(process, (): App => {
      const local = inProcessBell({
        lookEveryMs: Infinity,
        ...(hasAlarm ? { sweep: () => maintain(app.plane) } : {}),
      })
      const bell = planes === 1 ? local : sharedBell(local, this.#bus.channelOf(process))
      const gather = (run: () => void) => void this.scheduler.after(0, process, run)
      return createApp({ sql: this.database.sqlOf(process), bell, retentionMs: RETENTION_MS, gather })
    })
    const host: PlaneHost = {
      process,
      app,
      exchanges: new Set<Exchange>(),
      handle: (request) => app.fetch(request),
    }
    this.planes.push(host)
    this.history.note(`${process.name} starts`)
  }

  /** It dies, and another takes its place a little later; connections break, or are left hanging. */
  crashPlane(): void {
    const host = this.random.pick(this.planes)
    if (host.process.isDead) return
    this.history.note(`${host.process.name} crashes`)
    this.scheduler.kill(host.process)
    for (const exchange of host.exchanges) exchange.cut()
    this.scheduler.after(this.random.int(50, 3_000), null, () => {
      this.planes.splice(this.planes.indexOf(host), 1)
      this.#startPlane()
    })
  }

  #cron(): void {
    this.scheduler.after(this.scenario.cronEveryMs, null, () => {
      this.#cron()
      const alive = this.planes.filter(({ process }) => !process.isDead)
      if (alive.length === 0) return
      const { app, process } = this.random.pick(alive)
      this.scheduler.within(process, () => void maintainAndArm(app.plane).catch(() => {}))
    })
  }

  /** From here on things go wrong. */
  harm(): void {
    this.history.note('the faults begin')
    this.network.faults = this.scenario.faults.network
    this.database.faults = this.scenario.faults.sql
  }

  /** From here on nothing goes wrong any more. */
  heal(): void {
    this.history.note('the faults stop')
    this.network.faults = { ...NO_FAULTS.network, latencyMs: this.scenario.faults.network.latencyMs }
    this.database.faults = { ...NO_FAULTS.sql, latencyMs: this.scenario.faults.sql.latencyMs }
  }
}
