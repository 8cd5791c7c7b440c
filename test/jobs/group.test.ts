// Group commit: what comes together shares a statement; nobody pays for another's mistake, and nobody hears another's answer.
import { expect, test } from 'vitest'
import { SqlError } from '../../src/db/sql.ts'
import { grouped } from '../../src/jobs/group.ts'

interface Item {
  key: string
  bytes?: number
  isBad?: boolean
}

function setup({ running = 1, fail }: { running?: number; fail?: () => unknown } = {}) {
  const statements: { namespace: string; keys: string[]; finish: () => void }[] = []
  let isHeld = false
  const run = async (namespace: string, items: readonly Item[]): Promise<string[]> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    statements.push({ namespace, keys: items.map(({ key }) => key), finish: resolve })
    if (isHeld) await promise
    const error = fail?.()
    if (error !== undefined) throw error
    if (items.some((item) => item.isBad)) throw new SqlError('invalid input', '22P02')
    return items.map(({ key }) => `${namespace} ${key}`)
  }
  const keyOf = ({ key }: Item) => key
  const ask = grouped<Item, string>(run, { keyOf, bytesOf: ({ bytes = 1 }) => bytes, running })
  return {
    ask: (namespace: string, ...keys: (string | Item)[]) =>
      ask(
        namespace,
        keys.map((key) => (typeof key === 'string' ? { key } : key)),
      ),
    statements,
    hold: () => (isHeld = true),
    release: () => {
      isHeld = false
      for (const { finish } of statements) finish()
    },
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('what comes in one turn is one statement, and each hears its own answers in its own order', async () => {
  const { ask, statements } = setup()
  const answers = await Promise.all([ask('n', 'a', 'b'), ask('n', 'c'), ask('n'), ask('m', 'd')])
  expect(answers).toEqual([['n a', 'n b'], ['n c'], [], ['m d']])
  expect(statements.map(({ namespace, keys }) => [namespace, keys])).toEqual([
    ['n', ['a', 'b', 'c']],
    ['m', ['d']],
  ])
})

test('what comes while a statement runs waits for the next, together', async () => {
  const { ask, statements, hold, release } = setup()
  hold()
  const first = ask('n', 'a')
  await turn()
  const later = [ask('n', 'b'), ask('n', 'c')]
  await turn()
  expect(statements).toHaveLength(1)
  release()
  expect(await Promise.all([first, ...later])).toEqual([['n a'], ['n b'], ['n c']])
  expect(statements.map(({ keys }) => keys)).toEqual([['a'], ['b', 'c']])
})

test('two about the same thing are never in one statement', async () => {
  const { ask, statements } = setup()
  await Promise.all([ask('n', 'a'), ask('n', 'a', 'b'), ask('n', 'b')])
  expect(statements.map(({ keys }) => keys)).toEqual([['a'], ['a', 'b'], ['b']])
})

test('a statement is bounded in items and bytes, but takes the first whatever its size', async () => {
  const { ask, statements } = setup()
  const large = { key: 'large', bytes: 5 * 1024 * 1024 }
  await Promise.all([ask('n', large), ask('n', 'a'), ask('n', { key: 'b', bytes: 4 * 1024 * 1024 })])
  expect(statements.map(({ keys }) => keys)).toEqual([['large'], ['a'], ['b']])
  statements.length = 0
  const many = Array.from({ length: 700 }, (_, n) => `${n}`)
  await Promise.all([ask('n', ...many.slice(0, 300)), ask('n', ...many.slice(300, 600)), ask('n', ...many.slice(600))])
  expect(statements.map(({ keys }) => keys.length)).toEqual([300, 400])
})

test('what the database refuses fails who sent it, and nobody else', async () => {
  const { ask } = setup()
  const results = await Promise.allSettled([ask('n', 'a'), ask('n', { key: 'b', isBad: true }), ask('n', 'c')])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
})

test('a database that does not answer is not asked once more for each', async () => {
  const { ask, statements } = setup({ fail: () => new SqlError('gone', null) })
  const results = await Promise.allSettled([ask('n', 'a'), ask('n', 'b'), ask('n', 'c')])
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
  expect(statements).toHaveLength(1)
})

test('after a failure the next goes on', async () => {
  let isBroken = true
  const { ask } = setup({ fail: () => (isBroken ? new SqlError('gone', null) : undefined) })
  await expect(ask('n', 'a')).rejects.toThrow('gone')
  isBroken = false
  expect(await ask('n', 'b')).toEqual(['n b'])
})
