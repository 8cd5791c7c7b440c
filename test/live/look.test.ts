// A look that begins where an earlier life of its holder was: quick where nothing is between, and nothing is left out.
import { expect, test } from 'vitest'
import type { Sql } from '../../src/db/sql.ts'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import type { Entry } from '../../src/live/log.ts'
import { Look, type LookOptions } from '../../src/live/look.ts'
import { stampEvents, takeHead } from '../../src/live/stamp.ts'
import { embeddedSql } from '../support/plane.ts'
import { aCall } from '../support/wire.ts'

const HOLDER = crypto.randomUUID()
let namespaces = 0

/** The life before has handed on one job. */
async function setup() {
  const sql = await embeddedSql()
  const namespace = `look_${process.pid}_${namespaces++}`
  const enqueue = async () => enqueueJobs(sql, namespace, [await aCall()], { retentionMs: 86_400_000 })
  let statements = 0
  const counted: Sql = (text, params) => {
    statements++
    return sql(text, params)
  }
  const handedOn: { tick: number; statements: number }[] = []
  const events = {
    begun: () => {},
    read: (entries: readonly Entry[]) => {
      for (const { tick } of entries) handedOn.push({ tick, statements })
    },
  }
  const earlier = new Look(sql, namespace, { begun: () => {}, read: () => {} }, { holder: HOLDER })
  await enqueue()
  while ((await earlier.take()) > 0);
  const [tick, epoch] = [earlier.tick ?? 0, earlier.epoch]
  const next = (options: LookOptions = { holder: HOLDER, tick, epoch }) => new Look(counted, namespace, events, options)
  return { sql, namespace, enqueue, handedOn, tick, epoch, next }
}

const takeAll = async (look: Look) => {
  while ((await look.take()) > 0);
}

test('what is new is handed on after one statement, and the head taken anew after that', async () => {
  const { enqueue, handedOn, tick, epoch, next } = await setup()
  await enqueue()
  const look = next()
  await takeAll(look)
  expect(handedOn).toEqual([{ tick: tick + 1, statements: 1 }])
  expect(look.epoch).toBeGreaterThan(epoch ?? Infinity)
})

test('what the earlier life stamped without handing it on is not left out', async () => {
  const { sql, namespace, enqueue, handedOn, tick, epoch, next } = await setup()
  await enqueue()
  await stampEvents(sql, { namespace, holder: HOLDER, epoch: epoch ?? 0 }, { limit: 10, leaseMs: 5_000 })
  await enqueue()
  await takeAll(next())
  expect(handedOn.map((one) => one.tick)).toEqual([tick + 1, tick + 2])
})

test('where another stamps since, what it stamped is handed on', async () => {
  const { sql, namespace, enqueue, handedOn, tick, epoch, next } = await setup()
  await sql('update callplane.heads set expires_at = now() where namespace = $1', [namespace])
  const other = await takeHead(sql, namespace, crypto.randomUUID(), { leaseMs: 60_000 })
  if (other === null) throw new Error('the lease has run out')
  await enqueue()
  await stampEvents(sql, other, { limit: 10, leaseMs: 60_000 })
  await enqueue()
  const look = next({ holder: HOLDER, tick, epoch })
  await takeAll(look)
  expect(handedOn.map((one) => one.tick)).toEqual([tick + 1])
  expect(look.epoch).toBeNull()
})
