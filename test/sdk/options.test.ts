// Options: each that is not known, or has a value that it cannot have, is an error where it was written.
import { expect, test, vi } from 'vitest'
import { functionPolicy, durationMs, retryPolicy } from '../../src/protocol/policy.ts'
import type { JsonSchema } from '../../src/protocol/shape.ts'
import { Callplane, define, type CallplaneOptions, type DefineOptions } from '../../src/sdk/index.ts'
import { CREATE, setup } from './fake-plane.ts'

function withOptions(options: object) {
  const client = setup().plane.client('mailer')
  return client['greet']?.with(options)
}
const defined = (options: object) => define(options as DefineOptions, () => {})

const NOT_BUILT = [
  'idempotencyKey',
  'cache',
  'concurrencyKey',
  'rateLimitKey',
  'debounceKey',
  'concurrency',
  'rateLimit',
  'debounce',
  'unserved',
  'batch',
  'cancelWithParent',
]

test.each(NOT_BUILT)('%s is known and not built yet: it says so where it is written', (name) => {
  for (const set of [withOptions, defined]) {
    expect(() => set({ [name]: 1 })).toThrow(expect.objectContaining({ code: 'not_supported' }))
  }
})

test('encryption is not built yet: neither the option nor the variable is ignored', () => {
  expect(() => new Callplane({ encryptionKeys: [] } as CallplaneOptions)).toThrow(
    expect.objectContaining({ code: 'not_supported' }),
  )
  vi.stubEnv('CALLPLANE_ENCRYPTION_KEYS', 'a:b')
  expect(() => new Callplane()).toThrow(expect.objectContaining({ code: 'not_supported' }))
  vi.unstubAllEnvs()
})

test('a typo is an error that names it and what there is', () => {
  expect(() => withOptions({ timeoutMS: 5 })).toThrow(
    '.with has no option "timeoutMS": use retry, timeoutMs, deadlineMs, priority, delayMs, signal',
  )
  expect(() => defined({ timeout: 5 })).toThrow(
    'define has no option "timeout": use retry, timeoutMs, deadlineMs, priority, leaseMs, input',
  )
  expect(() => withOptions({ leaseMs: 5_000 })).toThrow('.with has no option "leaseMs"')
  expect(() => withOptions({ retry: { attempt: 5 } })).toThrow('retry has no option "attempt"')
  expect(() => withOptions({ retry: { backoff: { initial: 5 } } })).toThrow('retry.backoff has no option "initial"')
  expect(() => new Callplane({ uri: 'x' } as CallplaneOptions)).toThrow('new Callplane has no option "uri"')
  const options = { functions: { a: () => 1 }, slot: 5 }
  expect(() => setup().plane.service('mailer', options)).toThrow('service has no option "slot"')
})

test.each([
  [{ timeoutMs: 0 }, 'timeoutMs must be a whole number from 1 to 31536000000, not 0'],
  [{ timeoutMs: '5' }, 'timeoutMs must be a whole number from 1 to 31536000000, not "5"'],
  [{ deadlineMs: 1.5 }, 'deadlineMs must be a whole number from 1 to 31536000000, not 1.5'],
  [{ priority: Number.NaN }, 'priority must be a whole number from -1000 to 1000, not NaN'],
  [{ priority: null }, 'priority must be a whole number from -1000 to 1000, not null'],
  [{ retry: 3 }, 'the options of retry must be an object, not 3'],
  [{ retry: { attempts: 0 } }, 'retry.attempts must be a whole number from 1 to 1000, not 0'],
  [{ retry: { on: 'throw' } }, 'retry.on must be an array of strings, at most 50, not "throw"'],
  [{ retry: { backoff: { jitter: 'some' } } }, "retry.backoff.jitter must be 'full' or 'none', not \"some\""],
])('%j is refused: %s', (options, message) => {
  for (const set of [withOptions, defined]) {
    expect(() => set(options)).toThrow(expect.objectContaining({ code: 'invalid_option', message }))
  }
})

test('a signal must be one, schemas must be schemas, and a function a function', () => {
  expect(() => withOptions({ signal: {} })).toThrow('signal must be an AbortSignal, not an object')
  expect(() => defined({ input: [{}] })).toThrow('input must be an array of Standard Schemas, not an array')
  expect(() => define({}, 5 as never)).toThrow('the second argument of define must be a function, not 5')
})

test('undefined is as good as nothing', () => {
  withOptions({ timeoutMs: undefined, signal: undefined })
  defined({ retry: undefined, input: undefined })
  expect(() => withOptions({ timeoutMS: undefined })).toThrow('has no option')
})

/** The ranges of the wire, each with the options that have a value there. */
function ranges(): [name: string, schema: JsonSchema | undefined, options: (value: number) => object][] {
  const of = (schema: JsonSchema | undefined, name: string) => schema?.properties?.[name]
  const backoff = of(retryPolicy.schema, 'backoff')
  return [
    ...['timeoutMs', 'deadlineMs', 'priority', 'leaseMs'].map((name): ReturnType<typeof ranges>[number] => [
      name,
      of(functionPolicy.schema, name),
      (value) => ({ [name]: value }),
    ]),
    ['attempts', of(retryPolicy.schema, 'attempts'), (attempts) => ({ retry: { attempts } })],
    ...['initialMs', 'factor', 'maxMs'].map((name): ReturnType<typeof ranges>[number] => [
      name,
      of(backoff, name),
      (value) => ({ retry: { backoff: { [name]: value } } }),
    ]),
  ]
}

test.each(ranges())('%s may be all that the wire allows, and nothing beyond', (_, schema, options) => {
  const { minimum = Number.NaN, maximum = Number.NaN } = schema ?? {}
  for (const value of [minimum, maximum]) defined(options(value))
  for (const value of [minimum - 1, maximum + 1]) {
    expect(() => defined(options(value))).toThrow(expect.objectContaining({ code: 'invalid_option' }))
  }
})

test('the delay of a call may be all that the wire allows, and nothing beyond', () => {
  const { minimum = 0, maximum = 0 } = durationMs('').schema
  for (const delayMs of [minimum, maximum]) withOptions({ delayMs })
  for (const delayMs of [minimum - 1, maximum + 1]) {
    expect(() => withOptions({ delayMs })).toThrow(expect.objectContaining({ code: 'invalid_option' }))
  }
})

test('what happens to the options after `with` and `define` changes nothing', async () => {
  const { fake, plane } = setup()
  const retry = { attempts: 2 }
  const fn = define({ retry }, () => {})
  const greet = plane.client('mailer')['greet']?.with({ retry })
  retry.attempts = 3
  await plane.service('mailer', { functions: { fn } }).start()
  void greet?.()
  const registered = fake.asked[0]?.body.services?.[0]?.functions[0]
  expect(registered?.policy).toEqual({ retry: { attempts: 2 } })
  expect((await fake.next(CREATE)).body.calls[0]?.retry).toEqual({ attempts: 2 })
})

test.each(['plane', 'ftp://plane', 'http://user:secret@plane', 'http://plane?key=secret', 'http://plane#x', ''])(
  'the address %s is refused, without being shown',
  (url) => {
    const make = () => new Callplane({ url })
    expect(make).toThrow(expect.objectContaining({ code: 'invalid_option' }))
    expect(make).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
  },
)

test('a key of characters that no header can have is refused, without being shown', async () => {
  const plane = new Callplane({ key: 'cp_secret\nx' })
  const client = plane.client('mailer')
  const error = await client['greet']?.().catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'invalid_option' })
  expect(String(error)).not.toContain('secret')
  expect(() => new Callplane({ key: 5 } as unknown as CallplaneOptions)).toThrow('key must be a string')
})

test('a service has functions of its own, with names that a function can have', () => {
  const { plane } = setup()
  const serve = (functions: object, slots?: number) =>
    plane.service('mailer', { functions, ...(slots === undefined ? {} : { slots }) } as { functions: object } as never)
  for (const name of ['then', 'catch', 'finally', 'toJSON', 'two words', '', 'x'.repeat(65)]) {
    expect(() => serve({ [name]: () => 1 }), name).toThrow(expect.objectContaining({ code: 'invalid_name' }))
  }
  expect(() => serve({})).toThrow('functions must be an object with functions of its own')
  expect(() => serve({ greet: 5 })).toThrow('functions.greet must be a function, not 5')
  expect(() => serve(Object.create({ inherited: () => 1 }))).toThrow(
    'functions must be an object with functions of its own',
  )
  for (const slots of [-1, 1.5, 100_001, Number.NaN, '5' as unknown as number]) {
    expect(() => serve({ greet: () => 1 }, slots), String(slots)).toThrow('slots must be a whole number')
  }
  expect(() => plane.service('two words', { functions: { greet: () => 1 } })).toThrow('cannot name a service')
})
