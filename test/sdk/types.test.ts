// The types that users see. The compiler checks this file (npm run types); the tests only make sure that it ran.
import { expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import {
  define,
  type Call,
  type Callplane,
  type CallplaneError,
  type CallStatus,
  type Client,
  type CurrentCall,
  type RemoteFunction,
  type StandardSchema,
} from '../../src/sdk/index.ts'
import type { ResultOf } from '../../src/sdk/types.ts'
import type { Mail, mailer } from './fixtures/mailer.ts'
import { setup } from './fake-plane.ts'

type Mailer = Client<typeof mailer>
type Parameters0<F> = F extends RemoteFunction<infer Args, unknown> ? Args : never

test('a client has the functions of its service, through a type import alone', () => {
  const { plane } = setup()
  const mail = plane.client<typeof mailer>('mailer')
  expectTypeOf(mail).toEqualTypeOf<Mailer>()
  expectTypeOf<keyof Mailer>().toEqualTypeOf<keyof (typeof mailer)['functions']>()
  const wrong = () => {
    // @ts-expect-error another name is another service
    plane.client<typeof mailer>('maler')
    // @ts-expect-error it has no such function
    void mail.gret
    // @ts-expect-error nothing can be set
    mail.greet = plane.client<typeof mailer>('mailer').greet
  }
  expect(wrong).toThrow('a client cannot be changed')
  expect(globalThis).not.toHaveProperty('isMailerLoaded')
})

test('arguments and awaited results are those of the function', () => {
  expectTypeOf<Mailer['greet']>().toEqualTypeOf<RemoteFunction<[name: string], string>>()
  expectTypeOf<Mailer['sync']>().toEqualTypeOf<RemoteFunction<[n: number], number>>()
  expectTypeOf<Mailer['mail']>().toEqualTypeOf<RemoteFunction<[mail: Mail], Mail>>()
  expectTypeOf<Mailer['union']>().toEqualTypeOf<RemoteFunction<[id: string | number], Mail | null>>()
  expectTypeOf<Mailer['method']>().toEqualTypeOf<RemoteFunction<[name: string], number>>()
  expectTypeOf<Mailer['defined']>().toEqualTypeOf<RemoteFunction<[name: string, times?: number | undefined], string>>()
  expectTypeOf<ReturnType<Mailer['greet']>>().toEqualTypeOf<Promise<string>>()
})

test('void, optional and rest parameters stay what they are', () => {
  expectTypeOf<ReturnType<Mailer['nothing']>>().toEqualTypeOf<Promise<void>>()
  expectTypeOf<Parameters0<Mailer['nothing']>>().toEqualTypeOf<[]>()
  expectTypeOf<Parameters<Mailer['optional']>>().toEqualTypeOf<
    [a: string, b?: number | undefined, c?: boolean | undefined]
  >()
  expectTypeOf<Parameters<Mailer['rest']>>().toEqualTypeOf<[first: string, ...more: number[]]>()
})

test('whatever can be awaited is', () => {
  type Result<F> = Awaited<ReturnType<RemoteFunction<[], ResultOf<F>>>>
  expectTypeOf<Result<() => Promise<string> | number>>().toEqualTypeOf<string | number>()
  expectTypeOf<Result<() => PromiseLike<string>>>().toEqualTypeOf<string>()
  expectTypeOf<Result<() => Promise<void>>>().toEqualTypeOf<void>()
  expectTypeOf<Result<() => never>>().toEqualTypeOf<never>()
  expectTypeOf<Result<() => unknown>>().toEqualTypeOf<unknown>()
  expectTypeOf<ResultOf<() => Promise<Mail | null>>>().toEqualTypeOf<Mail | null>()
})

test('generics and overloads become something that can be called', () => {
  expectTypeOf<Parameters<Mailer['generic']>>().toEqualTypeOf<[value: object]>()
  expectTypeOf<ReturnType<Mailer['generic']>>().toEqualTypeOf<Promise<object>>()
  expectTypeOf<Parameters<Mailer['overloaded']>>().toEqualTypeOf<[value: number]>()
})

test('a caller passes what the schemas take, the function gets what they give', () => {
  expectTypeOf<Mailer['validated']>().toEqualTypeOf<RemoteFunction<[string, { qty?: number | undefined }], number>>()
  expectTypeOf<Parameters<(typeof mailer)['functions']['validated']>>().toEqualTypeOf<[number, { qty: number }]>()
  expectTypeOf<Parameters<Mailer['trailing']>>().toEqualTypeOf<[string, (number | undefined)?, (Date | undefined)?]>()
  expectTypeOf<Parameters<Mailer['fewer']>>().toEqualTypeOf<[string, number]>()
  define({ input: [z.string()] }, (name) => {
    expectTypeOf(name).toEqualTypeOf<string>()
  })
  const own: StandardSchema<string, Date> = {
    '~standard': { version: 1, vendor: 'own', validate: () => ({ value: new Date() }) },
  }
  const parse = define({ input: [own] }, (date) => date.getTime())
  expectTypeOf(parse).parameters.toEqualTypeOf<[Date]>()
  // @ts-expect-error the schemas give one argument
  define({ input: [z.string()] }, (a: string, b: string) => a + b)
  // @ts-expect-error the schema gives a string
  define({ input: [z.string()] }, (a: number) => a)
})

test('the other ways to call have the same types', () => {
  const { plane } = setup()
  const mail = plane.client<typeof mailer>('mailer')
  expectTypeOf(mail.greet.start).toEqualTypeOf<(name: string) => Promise<Call<string>>>()
  expectTypeOf(mail.greet.batch).parameter(0).toEqualTypeOf<readonly (readonly [name: string])[]>()
  expectTypeOf(mail.greet.batch).returns.toEqualTypeOf<Promise<(Call<string> | CallplaneError)[]>>()
  expectTypeOf(mail.greet.handle).returns.toEqualTypeOf<Call<string>>()
  expectTypeOf(mail.greet.with).returns.toEqualTypeOf<Mailer['greet']>()
  expectTypeOf<Call<string>['result']>().returns.toEqualTypeOf<Promise<string>>()
  expectTypeOf<Call<string>['status']>().returns.toEqualTypeOf<Promise<CallStatus>>()
  expectTypeOf<Callplane['call']>().returns.toEqualTypeOf<Call<unknown>>()
  const wrong = () => [
    // @ts-expect-error a number is no string
    mail.greet(5),
    // @ts-expect-error nothing may be missing
    mail.greet.start(),
    // @ts-expect-error each item is a list of arguments
    mail.greet.batch(['Ada']),
    // @ts-expect-error an option that there is not
    mail.greet.with({ timeout: 5 }),
    // @ts-expect-error one that a function has, and a call not
    mail.greet.with({ leaseMs: 5 }),
  ]
  expect(wrong).toBeTypeOf('function')
  // Options may be undefined, also where the compiler tells that from absent.
  mail.greet.with({ timeoutMs: undefined, signal: undefined, retry: undefined })
})

test('names that no function can have do not compile', () => {
  const { plane } = setup()
  const make = () => [
    // @ts-expect-error a client that has `then` would be called by being awaited
    plane.service('a', { functions: { then: () => 1 } }),
    // @ts-expect-error the same
    plane.service('a', { functions: { ok: () => 1, catch: () => 1 } }),
    // @ts-expect-error the same
    plane.service('a', { functions: { finally: () => 1 } }),
    // @ts-expect-error a client that has `toJSON` would be called by being logged
    plane.service('a', { functions: { toJSON: () => 1 } }),
    // @ts-expect-error functions only
    plane.service('a', { functions: { value: 1 } }),
    // @ts-expect-error a typo
    plane.service('a', { functions: { ok: () => 1 }, slot: 5 }),
  ]
  expect(make).toThrow('cannot be called "then"')
})

test('a client of which nothing is known takes anything and gives unknown', () => {
  const { plane } = setup()
  const anything = plane.client('anything')
  expectTypeOf(anything['run']).toEqualTypeOf<RemoteFunction<unknown[], unknown> | undefined>()
})

test('nothing of the surface is any', () => {
  const { plane } = setup()
  expectTypeOf<CallStatus['progress']>().toBeUnknown()
  expectTypeOf<CallStatus['error']>().toBeUnknown()
  expectTypeOf<CurrentCall['progress']>().parameter(0).toBeUnknown()
  expectTypeOf(plane.client('x')).not.toBeAny()
  expectTypeOf<Awaited<ReturnType<Call<unknown>['result']>>>().toBeUnknown()
  expectTypeOf(plane.service('x', { functions: { f: () => 1 } }).functions.f).returns.toEqualTypeOf<number>()
})
