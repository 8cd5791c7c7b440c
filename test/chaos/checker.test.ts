// The checker finds each kind of broken promise where it is planted, and nothing in a run that kept them all.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { check, type Findings } from './checker.ts'
import { History, type Event } from './history.ts'
import { reportOf, tableOf } from './report.ts'
import type { AttemptRow, JobRow, Tables } from './tables.ts'

const NAMESPACE = 'tenant_a'

interface Run {
  events: Event[]
  tables: Tables
}

function execution(over: Partial<Extract<Event, { kind: 'execution' }>> = {}): Event {
  return { kind: 'execution', call: 1, namespace: NAMESPACE, job: 'a', attempt: 1, fence: 1, runner: 7, ...over }
}

function attempt(over: Partial<AttemptRow> = {}): AttemptRow {
  const row = { namespace: NAMESPACE, job: 'a', fence: 1, attempt: 1, outcome: 'stalled' }
  return { ...row, startedAtMs: 10_000, endedAtMs: 20_000, ...over }
}

function job(over: Partial<JobRow> = {}): JobRow {
  return {
    namespace: NAMESPACE,
    id: 'a',
    call: 1,
    state: 'succeeded',
    failure: null,
    message: null,
    attempt: 2,
    maxAttempts: 3,
    fence: 2,
    createdAtMs: 9_000,
    resultFence: 2,
    ...over,
  }
}

/** Stalled once, ran again, succeeded; and one that failed, one that was cancelled, one that nobody knows of. */
function goodRun(): Run {
  return {
    events: [
      { kind: 'invoke', call: 1 },
      { kind: 'accepted', call: 1, id: 'a' },
      execution(),
      { kind: 'fault', what: 'a runner frozen' },
      execution({ attempt: 2, fence: 2, runner: 8 }),
      { kind: 'ok', call: 1, fence: 2 },
      { kind: 'invoke', call: 2 },
      { kind: 'fail', call: 2, code: 'call_timed_out' },
      { kind: 'invoke', call: 3 },
      { kind: 'cancel', call: 3, state: 'cancelled' },
      { kind: 'fail', call: 3, code: 'call_cancelled' },
      { kind: 'invoke', call: 4 },
      { kind: 'unknown', call: 4, code: 'plane_unreachable' },
    ],
    tables: {
      jobs: [
        job(),
        job({ id: 'b', call: 2, state: 'failed', failure: 'timed_out', resultFence: null }),
        job({ id: 'c', call: 3, state: 'cancelled', resultFence: null }),
      ],
      attempts: [
        attempt(),
        attempt({ fence: 2, attempt: 2, outcome: 'succeeded', startedAtMs: 20_100, endedAtMs: 21_000 }),
      ],
    },
  }
}

const checked = ({ events, tables }: Run): Findings =>
  check(
    events.map((event) => ({ atMs: 0, ...event })),
    tables,
  )

function found({ accepted: _, ...findings }: Findings): string[] {
  return Object.entries(findings).flatMap(([kind, sentences]) => sentences.map(() => kind))
}

test('a run that kept every promise has no findings, and counts what was accepted', () => {
  const findings = checked(goodRun())
  expect(found(findings)).toEqual([])
  expect(findings.accepted).toBe(3)
})

const setJob = (run: Run, over: Partial<JobRow>) => (run.tables.jobs[0] = job(over))
const without = (run: Run, kind: Event['kind'], call: number) =>
  (run.events = run.events.filter((event) => !(event.kind === kind && 'call' in event && event.call === call)))

const PLANTED: Record<string, { kinds: string[]; plant: (run: Run) => unknown }> = {
  'an accepted call without a job': {
    kinds: ['lost', 'crossed'],
    plant: (run) => run.tables.jobs.shift(),
  },
  'a call whose result was told, and that has no job': {
    kinds: ['lost'],
    plant: (run) => run.events.push({ kind: 'invoke', call: 9 }, { kind: 'ok', call: 9, fence: 1 }),
  },
  'an accepted call whose job is there under another id': {
    kinds: ['lost', 'crossed'],
    plant: (run) => setJob(run, { id: 'z' }),
  },
  'an accepted call that never ended': {
    kinds: ['lost', 'stuck'],
    plant: (run) => setJob(run, { state: 'running', resultFence: null }),
  },
  'a job that nobody was told of and that never ended': {
    kinds: ['stuck'],
    plant: (run) => run.tables.jobs.push(job({ id: 'd', call: 4, state: 'pending', resultFence: null })),
  },
  'a caller that still waits': {
    kinds: ['stuck'],
    plant: (run) => without(run, 'ok', 1),
  },
  'a call that became two jobs': {
    kinds: ['doubled'],
    plant: (run) => run.tables.jobs.push(job({ id: 'e' })),
  },
  'a completion applied twice': {
    kinds: ['doubled', 'stale'],
    plant: (run) => (run.tables.attempts[0] = attempt({ outcome: 'succeeded' })),
  },
  'two live leases at once': {
    kinds: ['doubled'],
    plant: (run) => (run.tables.attempts[0] = attempt({ endedAtMs: 24_000 })),
  },
  'a caller told twice': {
    kinds: ['doubled'],
    plant: (run) => run.events.push({ kind: 'ok', call: 1, fence: 2 }),
  },
  'the result of an attempt that had lost its lease': {
    kinds: ['stale', 'contradicted'],
    plant: (run) => setJob(run, { resultFence: 1 }),
  },
  'a success that another attempt followed': {
    kinds: ['stale'],
    plant: (run) => (run.tables.attempts = [attempt({ outcome: 'succeeded' })]),
  },
  'more executions than attempts': {
    kinds: ['executionsOverAttempts'],
    plant: (run) => setJob(run, { maxAttempts: 1 }),
  },
  'two executions under one fence': {
    kinds: ['fencesRepeated'],
    plant: (run) => run.events.push(execution({ runner: 9 })),
  },
  'a result told that is not the one stored': {
    kinds: ['contradicted'],
    plant: (run) => {
      without(run, 'ok', 1)
      run.events.push({ kind: 'ok', call: 1, fence: 1 })
    },
  },
  'a timeout told of a call that was cancelled': {
    kinds: ['contradicted'],
    plant: (run) => {
      without(run, 'fail', 3)
      run.events.push({ kind: 'fail', call: 3, code: 'call_timed_out' })
    },
  },
  'a success told of a call that failed': {
    kinds: ['contradicted'],
    plant: (run) => {
      without(run, 'fail', 2)
      run.events.push({ kind: 'ok', call: 2, fence: 2 })
    },
  },
  'a cancel answered with another end': {
    kinds: ['contradicted'],
    plant: (run) => {
      without(run, 'cancel', 3)
      run.events.push({ kind: 'cancel', call: 3, state: 'succeeded' })
    },
  },
  'an execution in another namespace': {
    kinds: ['crossed'],
    plant: (run) => run.events.splice(2, 1, execution({ namespace: 'tenant_b' })),
  },
}

test.for(Object.entries(PLANTED))('the checker finds %s', ([, { kinds, plant }]) => {
  const run = goodRun()
  plant(run)
  expect(found(checked(run)).toSorted()).toEqual(kinds.toSorted())
})

test('every kind of finding is planted', () => {
  const kinds = new Set(Object.values(PLANTED).flatMap((planted) => planted.kinds))
  const { accepted: _, ...findings } = checked(goodRun())
  expect([...kinds].toSorted()).toEqual(Object.keys(findings).toSorted())
})

test('what several writers append is read whole and in order', () => {
  const folder = mkdtempSync(join(tmpdir(), 'callplane-history-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'history.jsonl')
  const [one, other] = [new History(file), new History(file)]
  for (let call = 0; call < 200; call++) (call % 2 ? one : other).write({ kind: 'invoke', call })
  const read = one.read()
  one.close()
  other.close()
  expect(read.map((event) => 'call' in event && event.call)).toEqual(Array.from({ length: 200 }, (_, call) => call))
})

test('the report names every failure with its scenario, and the table has a row for each', () => {
  const counts = { calls: 5, lost: 1, doubled: 0, stale: 0, stuck: 0, executionsOverAttempts: 0, fencesRepeated: 0 }
  const result = {
    name: 'freeze',
    ...counts,
    seconds: 2,
    figures: { lateRefused: 4 },
    passed: false,
    failures: ['1 lost'],
  }
  const report = reportOf([result], 2)
  expect(report.failures).toEqual(['freeze: 1 lost'])
  expect(report.scenarios).toEqual({ freeze: result })
  expect(tableOf([result]).split('\n')[1]).toMatch(/^freeze +5 +1 +0 +0 +0 +0 +0 +2\.0 +FAILED +lateRefused 4$/)
})
