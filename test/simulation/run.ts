// One seed: makes its world, lets it run to its end, and says what was found.
import { keyOf, type Violation } from './checker.ts'
import { installGlobals } from './globals.ts'
import type { ModelPlant } from './model/plants.ts'
import { People } from './people.ts'
import { Random } from './random.ts'
import { scenarioOf, type Scenario } from './scenario.ts'
import { Scheduler } from './scheduler.ts'
import { RETENTION_MS, World } from './world.ts'

export interface RunOptions {
  seed: number
  calls: number
  plants?: ReadonlySet<ModelPlant>
  /** Keeps the history. */
  isTraced?: boolean
}

export interface RunResult {
  seed: number
  scenario: Scenario
  calls: number
  events: number
  statements: number
  /** Virtual time from when the faults stopped to when all was done. */
  tookMs: number
  /** The same for the same seed. */
  fingerprint: string
  violation: Violation | null
  lines: string[]
}

/** Faults go on for so long after the last call was made. */
const FAULTS_AFTER_MS = 5_000
/** They stop by then, whether or not all calls are made. */
const LONGEST_MS = 600_000
/** What is still open so long after the faults stopped is stuck: attempts × (lease + 90 s) and their waits. */
const STUCK_AFTER_MS = 650_000
/** Some may be frozen, and results that cannot be delivered are given up after 30 s. */
const CLOSED_WITHIN_MS = 120_000
/** Copies of requests may arrive so late. */
const LATE_MS = 15_000

export async function runSeed({ seed, calls, plants = new Set(), isTraced = false }: RunOptions): Promise<RunResult> {
  const random = new Random(seed)
  const scheduler = new Scheduler()
  const scenario = scenarioOf(random, calls)
  const restore = installGlobals(scheduler, random)
  try {
    const world = new World({ scheduler, random, scenario, plants, isTraced })
    const tookMs = await live(world)
    const { violation } = world.checker
    return {
      seed,
      scenario,
      calls: world.checker.jobs.size,
      events: scheduler.ran,
      statements: world.database.statements,
      tookMs,
      fingerprint: scheduler.fingerprint,
      violation,
      lines: isTraced ? (violation === null ? world.history.lines() : world.history.linesOf(violation.job, 60)) : [],
    }
  } finally {
    restore()
  }
}

async function live(world: World): Promise<number> {
  const { scheduler, checker, database } = world
  const isBroken = () => checker.violation !== null
  const people = new People(world)
  await world.begin()
  people.serve()
  await scheduler.run(() => people.isServed, LONGEST_MS)
  world.harm()
  people.begin()
  await scheduler.run(() => isBroken() || people.areCallsMade, LONGEST_MS)
  await scheduler.run(isBroken, scheduler.nowMs + FAULTS_AFTER_MS)
  world.heal()
  people.heal()
  const healedAtMs = scheduler.nowMs
  const isDone = () => people.isDone && database.model.tables.openCount === 0
  await scheduler.run(() => isBroken() || isDone(), healedAtMs + STUCK_AFTER_MS)
  const tookMs = scheduler.nowMs - healedAtMs
  // Late copies of creates may still make a job: that ends too.
  await scheduler.run(isBroken, scheduler.nowMs + LATE_MS)
  await scheduler.run(() => isBroken() || isDone(), scheduler.nowMs + STUCK_AFTER_MS)
  if (!isDone()) reportStuck(world, people)
  else if (world.random.chance(0.2)) await leave(world, people)
  return tookMs
}

/** Everybody goes, and what has ended is forgotten when its time has come, and not before. */
async function leave(world: World, people: People): Promise<void> {
  const { scheduler, checker, database, scenario } = world
  people.close()
  await scheduler.run(() => people.areClosed, scheduler.nowMs + CLOSED_WITHIN_MS)
  if (!people.areClosed) return checker.report('a client does not close', null)
  if (!scenario.hasAlarm && !scenario.hasCron) return
  await scheduler.run(() => checker.violation !== null, scheduler.nowMs + RETENTION_MS + 2 * scenario.cronEveryMs)
  const [kept] = database.model.tables.jobs()
  if (kept !== undefined) checker.report('kept for longer than it should be', keyOf(kept))
}

function reportStuck({ checker, database }: World, people: People): void {
  const [job] = database.model.tables.open()
  if (job === undefined) return checker.report(`${people.openCalls} callers wait for calls that have ended`, null)
  const { namespace, id, state, attempt } = job
  checker.report(`stuck: ${state} after attempt ${attempt}, and nothing moves it`, `${namespace}/${id}`)
}
