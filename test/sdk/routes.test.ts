// What the SDK writes down for itself, since the protocol's own would bring all of its parsers along, is what the protocol says.
import { expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { cancelCalls, createCalls, getCall, waitCalls } from '../../src/protocol/calls.ts'
import { listCalls, parseListCallsQuery } from '../../src/protocol/list-calls.ts'
import { DEFAULT_LEASE_MS } from '../../src/protocol/policy.ts'
import { redriveCalls } from '../../src/protocol/redrive-calls.ts'
import { leaveRunner, poll, registerRunner } from '../../src/protocol/runners.ts'
import { queryOf } from '../../src/sdk/call-filter.ts'
import * as routes from '../../src/sdk/routes.ts'
import { fakeTime, job, pass, POLL, REGISTER, serve } from './fake-plane.ts'

test.each([
  [routes.CREATE_CALLS, createCalls],
  [routes.WAIT_CALLS, waitCalls],
  [routes.CANCEL_CALLS, cancelCalls],
  [routes.REDRIVE_CALLS, redriveCalls],
  [routes.REGISTER_RUNNER, registerRunner],
  [routes.POLL, poll],
  [routes.LEAVE_RUNNER, leaveRunner],
])('$path is where the protocol has it', (route, { method, path }) => {
  expect(method).toBe('POST')
  expect(route.path).toBe(path)
})

test('the path of a call is the protocol’s', () => {
  expect(getCall.method).toBe('GET')
  expect(routes.getCallRoute('ID').path).toBe(getCall.path.replace('{id}', 'ID'))
})

test('the path of a list is the protocol’s, and its query what the protocol reads', () => {
  const filter = { state: ['failed', 'cancelled'], failure: ['threw'], service: 's', newerThanMs: 5, limit: 7 } as const
  const { path } = routes.listCallsRoute(queryOf({ ...filter, state: [...filter.state], failure: [...filter.failure] }))
  const url = new URL(path, 'http://plane.test')
  expect([listCalls.method, url.pathname]).toEqual(['GET', listCalls.path])
  expect(parseListCallsQuery(Object.fromEntries(url.searchParams))).toEqual(filter)
})

test('what the SDK sends is what the protocol’s shapes take', async () => {
  fakeTime()
  const { fake, plane, poll: first } = await serve({ greet: () => 'hi', wait: () => new Promise<never>(() => {}) })
  first.deliver([job('mailer', 'greet', []), job('mailer', 'wait', [])])
  await pass(6_000)
  const greet = plane.client('mailer')['greet']
  void greet?.with({ retry: { attempts: 2, backoff: { factor: 2 }, on: ['throw'] }, delayMs: 1, priority: 1 })()
  await pass(10)
  for (const { path, body } of fake.asked) {
    const shape = [createCalls, registerRunner, poll].find((endpoint) => endpoint.path === path)?.request
    expect(shape?.parse(body, 'body')).toMatchObject({})
  }
  expect(fake.asked.some(({ body }) => body.heartbeats !== undefined)).toBe(true)
  expect(fake.asked.some(({ body }) => body.reports !== undefined)).toBe(true)
})

test('the SDK says its version', async () => {
  const { fake } = await serve({ greet: () => 'hi' })
  const { sdk } = fake.asked.find(({ path }) => path === REGISTER)?.body ?? {}
  expect(sdk).toBe(`callplane-typescript/${packageJson.version}`)
})

test('heartbeats of a function without a lease of its own are those of the protocol’s default', async () => {
  fakeTime()
  const { fake, poll: first } = await serve({ wait: () => new Promise<never>(() => {}) }, { slots: 1 })
  first.deliver([job('mailer', 'wait', [])])
  await pass(5_100)
  ;(await fake.next(POLL)).deliver([])
  await pass(DEFAULT_LEASE_MS / 3 - 200)
  expect(fake.count(POLL)).toBe(2)
  await pass(300)
  expect(fake.count(POLL)).toBe(3)
})
