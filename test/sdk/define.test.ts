// `define`: policies that are registered, and schemas that the arguments meet before the function does.
import { expect, test } from 'vitest'
import { z } from 'zod'
import { decodePayload } from '../../src/protocol/codec.ts'
import { define, type StandardSchema } from '../../src/sdk/index.ts'
import { job, POLL, serve, type FakePlane, type Asked } from './fake-plane.ts'

async function ended(fake: FakePlane, poll: Asked, ...args: unknown[]): Promise<{ next: Asked; value: unknown }> {
  poll.deliver([job('mailer', 'run', args)])
  const next = await fake.next(POLL)
  const report = next.body.reports?.[0]
  if (report?.ended === 'succeeded') return { next, value: decodePayload(report.result) }
  return { next, value: report && { thrown: decodePayload(report.error), isRetryable: report.isRetryable } }
}

test('the function gets what the schemas make of the arguments, and a wrong one is never retried', async () => {
  const item = z.object({ qty: z.number().int().min(1).default(1), 'odd key': z.string().optional() })
  let runs = 0
  const run = define({ input: [z.string().trim(), z.object({ items: z.array(item) })] }, (name, { items }) => {
    runs++
    return [name, items.map(({ qty }) => qty)]
  })
  const { fake, poll } = await serve({ run })
  const good = await ended(fake, poll, ' Ada ', { items: [{}, { qty: 3 }] })
  expect(good.value).toEqual(['Ada', [1, 3]])
  const bad = await ended(fake, good.next, 'Ada', { items: [{}, { qty: 0 }, { 'odd key': 1 }] })
  expect(bad.value).toMatchObject({
    thrown: {
      code: 'invalid_arguments',
      message: expect.stringMatching(/^args\[1\]\.items\[1\]\.qty: .*; args\[1\]\.items\[2\]\["odd key"\]: /),
    },
    isRetryable: false,
  })
  expect(runs).toBe(1)
})

test('fewer arguments than schemas are as good as undefined ones, more are refused', async () => {
  const run = define({ input: [z.string(), z.string().optional(), z.number().default(7)] }, (...args) => args)
  const { fake, poll } = await serve({ run })
  const fewer = await ended(fake, poll, 'a')
  expect(fewer.value).toEqual(['a', undefined, 7])
  const none = await ended(fake, fewer.next)
  expect(none.value).toMatchObject({
    thrown: { code: 'invalid_arguments', message: expect.stringContaining('args[0]: ') },
  })
  const more = await ended(fake, none.next, 'a', 'b', 3, 4)
  expect(more.value).toMatchObject({ thrown: { message: 'the function takes 3 arguments, not 4' }, isRetryable: false })
})

test('any Standard Schema will do, also one that takes its time, and the first issues are named', async () => {
  const slow: StandardSchema<string, number> = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: async (value) =>
        typeof value === 'string'
          ? { value: value.length }
          : { issues: Array.from({ length: 100 }, (_, n) => ({ message: `issue ${n}`, path: [{ key: n }] })) },
    },
  }
  const run = define({ input: [slow] }, (length) => length)
  const { fake, poll } = await serve({ run })
  const good = await ended(fake, poll, 'four')
  expect(good.value).toBe(4)
  const bad = await ended(fake, good.next, 4)
  expect(bad.value).toMatchObject({
    thrown: {
      message:
        'args[0][0]: issue 0; args[0][1]: issue 1; args[0][2]: issue 2; args[0][3]: issue 3; args[0][4]: issue 4',
    },
  })
})

test('a schema that breaks is the error that it threw', async () => {
  const broken: StandardSchema = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: () => {
        throw new Error('the schema broke')
      },
    },
  }
  const { fake, poll } = await serve({ run: define({ input: [broken] }, () => 1) })
  expect((await ended(fake, poll, 1)).value).toMatchObject({
    thrown: { message: 'the schema broke' },
    isRetryable: true,
  })
})

test('a defined function can be called directly, and defined twice', () => {
  const double = (n: number) => 2 * n
  const once = define({ timeoutMs: 1 }, double)
  const twice = define({ timeoutMs: 2, input: [z.number()] }, once)
  expect(once(2)).toBe(4)
  expect(twice(3)).toBe(6)
  expect(once).not.toBe(double)
})
