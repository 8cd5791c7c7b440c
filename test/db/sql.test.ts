// The seam by itself: encoding, kinds of errors, the retry of what was rolled back, the hook.
import { describe, expect, test } from 'vitest'
import {
  decodeRows,
  encodeParam,
  isOutcomeUnknown,
  isTransient,
  onStatement,
  SqlError,
  withRetry,
  type Row,
  type Sql,
} from '../../src/db/sql.ts'

/** A database that answers with these, in order: an error is thrown. */
function scripted(...answers: (Row[] | Error)[]): { sql: Sql; texts: string[] } {
  const texts: string[] = []
  const sql = async (text: string): Promise<Row[]> => {
    texts.push(text)
    const answer = answers[texts.length - 1] ?? []
    if (answer instanceof Error) throw answer
    return answer
  }
  return { sql: sql as Sql, texts } // Rows of whatever shape a test writes.
}

const rolledBack = (code = '40001'): SqlError => new SqlError('rolled back', code)

describe('encodeParam', () => {
  test.each([
    [null, null],
    ['x', 'x'],
    [-0, '-0'],
    [1e21, '1e+21'],
    [10n ** 20n, '100000000000000000000'],
    [true, 'true'],
    [new Uint8Array([0, 15, 255]), '\\x000fff'],
    [[], '{}'],
    [['', 'NULL', null, 'a"b', 'c\\d', '{,}'], '{"","NULL",NULL,"a\\"b","c\\\\d","{,}"}'],
    [[1, -2, 3n, null], '{"1","-2","3",NULL}'],
    [[new Uint8Array([1]), null], '{"\\\\x01",NULL}'],
  ])('%o is %s', (param, text) => {
    expect(encodeParam(param)).toBe(text)
  })
})

describe('decodeRows', () => {
  const decode = (dataTypeID: number, text: string): unknown =>
    decodeRows([{ name: 'v', dataTypeID }], [[text]])[0]?.['v']

  test('an array of large elements does not overflow', () => {
    const hex = 'ab'.repeat(6 * 1024 * 1024)
    expect(decode(1001, `{"\\\\x${hex}"}`)).toHaveLength(1)
  })

  test('an array of arrays, or one that does not start at 1, is refused', () => {
    expect(() => decode(1016, '{{1},{2}}')).toThrow(RangeError)
    expect(() => decode(1009, '[0:1]={a,b}')).toThrow(RangeError)
  })

  test('bytes in the old escape format are refused', () => {
    expect(() => decode(17, 'abc')).toThrow('bytea_output')
  })

  test('a column called __proto__ is a column', () => {
    const [row] = decodeRows([{ name: '__proto__', dataTypeID: 25 }], [['x']])
    expect(Object.keys(row ?? {})).toStrictEqual(['__proto__'])
  })
})

describe('an error', () => {
  // [SQLSTATE, may have committed, worth another try]
  const kinds: [string | null, boolean, boolean][] = [
    [null, true, true],
    ['08006', true, true],
    ['08007', true, true],
    ['08P01', true, true],
    ['57P01', true, true],
    ['40003', true, true],
    ['08001', false, true],
    ['08003', false, true],
    ['40001', false, true],
    ['40P01', false, true],
    ['53300', false, true],
    ['57014', false, true],
    ['57P03', false, true],
    ['23505', false, false],
    ['42601', false, false],
    ['28P01', false, false],
  ]

  test.each(kinds)('with SQLSTATE %s: outcome unknown %s, transient %s', (code, isUnknown, mayPass) => {
    const error = new SqlError('', code)
    expect([isOutcomeUnknown(error), isTransient(error)]).toStrictEqual([isUnknown, mayPass])
  })

  test('that is none of the database is neither', () => {
    expect(isOutcomeUnknown(new TypeError())).toBe(false)
    expect(isTransient(Object.assign(new Error(), { code: '40001' }))).toBe(false)
  })
})

describe('withRetry', () => {
  test.each(['40001', '40P01'])('runs a statement again after %s', async (code) => {
    const { sql, texts } = scripted(rolledBack(code), rolledBack(code), [{ n: 1 }])
    expect(await withRetry(sql)('select 1')).toStrictEqual([{ n: 1 }])
    expect(texts).toHaveLength(3)
  })

  test('gives up after five repeats', async () => {
    const { sql, texts } = scripted(...Array.from({ length: 10 }, () => rolledBack()))
    await expect(withRetry(sql, { baseMs: 1 })('select 1')).rejects.toMatchObject({ code: '40001' })
    expect(texts).toHaveLength(6)
  })

  test.each([null, '08006', '57P01', '23505', '53300'])('leaves %s to the caller', async (code) => {
    const { sql, texts } = scripted(new SqlError('', code))
    await expect(withRetry(sql)('insert')).rejects.toMatchObject({ code })
    expect(texts).toHaveLength(1)
  })
})

test('onStatement sees every statement before it runs', async () => {
  const { sql, texts } = scripted()
  const seen: unknown[] = []
  const observed = onStatement(sql, (text, params) => seen.push([text, params, texts.length]))
  await observed('select 1')
  await observed('select $1', ['x'])
  expect(seen).toStrictEqual([
    ['select 1', [], 0],
    ['select $1', ['x'], 1],
  ])
})
