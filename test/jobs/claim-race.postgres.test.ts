// Sixteen pollers on one queue, on a real Postgres: every job goes to one of them. Without its locks the claim doubles.
import { expect, test } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { claimJobs } from '../../src/jobs/claim.ts'
import { completeJobs } from '../../src/jobs/complete.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import type { CallRequest } from '../../src/protocol/calls.ts'
import { migratedDatabase } from '../support/fresh-database.ts'

const POLLERS = 16
const { database } = await migratedDatabase({ max: POLLERS })

const aCall = (service: string): CallRequest => ({
  id: newCallId(),
  service,
  function: 'f',
  args: new Uint8Array([1]),
  argsDigest: new Uint8Array(32),
})

async function enqueue(namespace: string, jobs: number): Promise<void> {
  for (let done = 0; done < jobs; done += 1_000) {
    const calls = Array.from({ length: Math.min(1_000, jobs - done) }, () => aCall('s'))
    await enqueueJobs(database.sql, namespace, calls, { retentionMs: 7 * 86_400_000 })
  }
}

/** Lets the pollers claim ten at a time until nothing is left; answers how often each job was delivered. */
async function claimAll(sql: Sql, namespace: string): Promise<Map<string, number>> {
  const deliveries = new Map<string, number>()
  const poll = async () => {
    const runner = { namespace, id: crypto.randomUUID() }
    for (let empty = 0; empty < 3;) {
      const { jobs } = await claimJobs(sql, runner, {
        claimId: crypto.randomUUID(),
        services: [{ name: 's', functions: ['f'], capacity: 10 }],
        maxBytes: 1e6,
      })
      // What the others have locked looks like nothing: only a few empty looks in a row are the end.
      empty = jobs.length === 0 ? empty + 1 : 0
      for (const { id } of jobs) deliveries.set(id, (deliveries.get(id) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: POLLERS }, poll))
  return deliveries
}

const doubled = (deliveries: Map<string, number>) => [...deliveries.values()].filter((count) => count > 1).length

test('20,000 jobs, 16 pollers: each job is delivered once', { timeout: 120_000 }, async () => {
  await enqueue('race', 20_000)
  const deliveries = await claimAll(database.sql, 'race')
  expect(deliveries.size).toBe(20_000)
  expect(doubled(deliveries)).toBe(0)
})

test('the same without skip locked and the outer guard delivers jobs twice', { timeout: 120_000 }, async () => {
  const mutated: Sql = (text, params) => {
    const changed = text.replace('for update skip locked', '').replace("and j.state || '' = 'pending'", '')
    // Both were there to take away: else this test would prove nothing.
    expect(text.length - changed.length).toBe("for update skip lockedand j.state || '' = 'pending'".length)
    return database.sql(changed, params)
  }
  // A double claim takes the attempts of a job past their bound, which the schema refuses: lift that, to see the doubles.
  await database.sql('alter table callplane.jobs drop constraint attempts_are_bounded')
  await enqueue('mutated', 2_000)
  expect(doubled(await claimAll(mutated, 'mutated'))).toBeGreaterThan(0)
})

test('a report sent three times at once changes the state once and gets three equal answers', async () => {
  await enqueue('reports', 300)
  const runner = { namespace: 'reports', id: crypto.randomUUID() }
  const services = [{ name: 's', functions: ['f'], capacity: 300 }]
  const { jobs } = await claimJobs(database.sql, runner, { claimId: crypto.randomUUID(), services, maxBytes: 1e6 })
  const reports = jobs.map(({ id, token }) => ({ id, token, result: new Uint8Array([1]) }))
  const send = (report: (typeof reports)[number]) => completeJobs(database.sql, 'reports', [report])
  for (const report of reports) {
    const answers = (await Promise.all([send(report), send(report), send(report)])).flat()
    expect(answers.map((answer) => 'state' in answer && answer.state)).toEqual(['succeeded', 'succeeded', 'succeeded'])
    expect(answers.filter((answer) => 'isFirst' in answer && answer.isFirst)).toHaveLength(1)
  }
})

test('a create sent five times at once is one row and five equal answers', async () => {
  for (let round = 0; round < 50; round++) {
    const call = aCall('twins')
    const send = () => enqueueJobs(database.sql, 'twins', [call], { retentionMs: 7 * 86_400_000 })
    const answers = (await Promise.all([send(), send(), send(), send(), send()])).flat()
    expect(answers.every((answer) => 'isNew' in answer)).toBe(true)
    expect(answers.filter((answer) => 'isNew' in answer && answer.isNew)).toHaveLength(1)
  }
})
