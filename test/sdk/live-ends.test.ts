// How watches end, and what goes wrong: each end tells the peer, nothing is dropped in silence, and nothing ends the process.
import { beforeAll, expect, test, vi } from 'vitest'
import { SIGN_OF_LIFE } from '../../src/protocol/sign-of-life.ts'
import { CallplaneError, from, type CallplaneOptions, type LiveChange } from '../../src/sdk/index.ts'
import { a1, b1, FAILING, setupLive as setup, watching } from './fake-peer.ts'
import { fakeTime, KEY, pass, settle } from './fake-plane.ts'

// What is loaded with the first use takes real time, which the tests hold still.
beforeAll(() => import('../../src/sdk/live-client.ts'))

const GONE = [{ name: 'failing' }]

test('break ends a watch', async () => {
  const { peer, live, failing, loop } = await watching()
  await loop.return()
  for await (const { rows } of live.watch(failing)) {
    expect(rows).toEqual([a1])
    break
  }
  await settle()
  expect(peer.asked('Uninterest')).toEqual([...GONE, ...GONE])
})

test('what is thrown in a loop ends its watch, and a return does', async () => {
  const { peer, live, failing, loop } = await watching()
  await loop.return()
  const thrown = (async () => {
    for await (const _ of live.watch(failing)) throw new RangeError('mine')
  })()
  await expect(thrown).rejects.toThrow('mine')
  const first = await (async () => {
    for await (const { tick } of live.watch(failing)) return tick
    return null
  })()
  expect(first).toBe(peer.tick)
  await settle()
  expect(peer.asked('Uninterest')).toHaveLength(3)
})

test('a loop that waits is ended by return, from elsewhere', async () => {
  const { loop } = await watching()
  const next = loop.next()
  expect(await loop.return()).toEqual({ done: true, value: undefined })
  expect(await next).toEqual({ done: true, value: undefined })
  expect(await loop.next()).toEqual({ done: true, value: undefined })
})

test('a signal ends a loop with its reason, also before it began', async () => {
  const controller = new AbortController()
  const { peer, live, failing, loop } = await watching({ signal: controller.signal })
  const next = loop.next()
  controller.abort(new RangeError('enough'))
  await expect(next).rejects.toThrow('enough')
  expect(await loop.next()).toEqual({ done: true, value: undefined })
  await settle()
  expect(peer.asked('Uninterest')).toEqual(GONE)
  await expect(live.watch(failing, { signal: controller.signal }).next()).rejects.toThrow('enough')
})

test('the end of the plane ends all loops in good order, and what comes after is refused', async () => {
  const { peer, plane, live, failing, loop } = await watching()
  const waiting = [loop.next(), live.watch('failing').next()]
  await waiting[1]
  await plane.close()
  expect(await waiting[0]).toEqual({ done: true, value: undefined })
  const closed = { code: 'closed' }
  await expect(live.watch(failing).next()).rejects.toMatchObject(closed)
  await expect(live.register('failing', FAILING)).rejects.toMatchObject(closed)
  expect(peer.open).toEqual([])
})

test('a plane that was closed before its first live query refuses it', async () => {
  const { peer, plane, live } = setup()
  await plane.close()
  await expect(live.status()).rejects.toMatchObject({ code: 'closed' })
  expect(peer.sockets).toEqual([])
})

test('the socket closes soon after the last watch, and opens again for the next', async () => {
  fakeTime()
  const { peer, live, failing, loop } = await watching()
  await loop.return()
  await pass(900)
  expect(peer.open).toHaveLength(1)
  await pass(200)
  expect(peer.open).toHaveLength(0)
  await pass(60_000)
  expect(peer.sockets).toHaveLength(1)
  const again = live.watch(failing)
  expect((await again.next()).value).toMatchObject({ rows: [a1] })
  expect(peer.sockets).toHaveLength(2)
})

test('who leaves while the peer is away is not tried for any more', async () => {
  fakeTime()
  const { peer, loop } = await watching()
  peer.isDown = true
  peer.open[0]?.cut()
  await pass(3_000)
  const tries = peer.sockets.length
  expect(tries).toBeGreaterThan(2)
  await loop.return()
  await pass(60_000)
  expect(peer.sockets).toHaveLength(tries)
  expect(vi.getTimerCount()).toBe(0)
})

test('callbacks get the same as a loop, one change after the other, until they are stopped', async () => {
  const { peer, live, failing, loop } = await watching()
  const changes: LiveChange<object>[] = []
  const taken = Promise.withResolvers<void>()
  const onError = vi.fn<(error: unknown) => void>()
  const stop = live.watch(failing, {
    onChange: (change) => {
      changes.push(change)
      return taken.promise
    },
    onError,
  })
  await settle()
  peer.change('failing', [b1, 1])
  peer.change('failing', [b1, 1])
  await settle()
  expect(changes.map(({ diffs }) => diffs)).toEqual([[[a1, 1]]])
  taken.resolve()
  await settle()
  expect(changes.map(({ diffs }) => diffs)).toEqual([[[a1, 1]], [[b1, 2]]])
  stop()
  await loop.return()
  await settle()
  peer.change('failing', [b1, 1])
  await settle()
  expect(changes).toHaveLength(2)
  expect(peer.asked('Uninterest')).toEqual(GONE)
  expect(onError).not.toHaveBeenCalled()
})

test('what a callback throws ends its watch and is told, and what onError throws ends nothing', async () => {
  const { peer, live, failing, loop } = await watching()
  await loop.return()
  const told: unknown[] = []
  const fail = (thrown: Error) => () => {
    throw thrown
  }
  const onError = (error: unknown) => {
    told.push(error)
    throw new Error('from onError')
  }
  live.watch(failing, { onChange: fail(new RangeError('in onChange')), onError })
  await settle()
  live.watch(failing, { onChange: () => {}, onReset: fail(new RangeError('in onReset')), onError })
  await settle()
  peer.reset('failing', 'for a test')
  await settle()
  live.watch('none', { onChange: () => {}, onError })
  await settle()
  expect(told.map(String)).toEqual([
    'RangeError: in onChange',
    'RangeError: in onReset',
    'CallplaneError: no query "none"',
  ])
})

test('a signal stops callbacks in silence', async () => {
  const { peer, live, failing } = await watching()
  const controller = new AbortController()
  const [onChange, onError] = [vi.fn<(change: object) => void>(), vi.fn<(error: unknown) => void>()]
  live.watch(failing, { signal: controller.signal, onChange, onError })
  await settle()
  controller.abort()
  peer.change('failing', [b1, 1])
  await settle()
  expect(onChange).toHaveBeenCalledTimes(1)
  expect(onError).not.toHaveBeenCalled()
})

test('a key that is refused ends everything at once, and its value is never shown', async () => {
  const { peer, live } = setup({ key: 'cp_another' })
  const unauthorized = { code: 'unauthorized' }
  const [register, watch] = [live.register('failing', FAILING), live.watch('failing').next()]
  await expect(register).rejects.toMatchObject(unauthorized)
  await expect(watch).rejects.toMatchObject(unauthorized)
  await expect(live.status()).rejects.toMatchObject(unauthorized)
  expect(peer.open).toEqual([])
  expect(peer.sockets.length).toBeLessThanOrEqual(2)
  await register.catch((error: unknown) => expect(String(error)).not.toContain(KEY))
})

test('without a key or a WebSocket the first use says so', async () => {
  vi.stubEnv('CALLPLANE_KEY', '')
  await expect(setup({ key: undefined }).live.watch('failing').next()).rejects.toMatchObject({ code: 'no_key' })
  vi.unstubAllEnvs()
  vi.stubGlobal('WebSocket', undefined)
  await expect(setup({ WebSocket: undefined }).live.status()).rejects.toMatchObject({ code: 'not_supported' })
  vi.unstubAllGlobals()
  const Forbidden = class {
    constructor() {
      throw new DOMException('not from here', 'SecurityError')
    }
  } as unknown as NonNullable<CallplaneOptions['WebSocket']> // all that a page sees of it
  const refused = { code: 'plane_unreachable', message: 'SecurityError: not from here' }
  await expect(setup({ WebSocket: Forbidden }).live.status()).rejects.toMatchObject(refused)
})

test('a refusal is the error of the one who asked', async () => {
  const { peer, live } = setup()
  peer.refusals.set('Register', ['invalid_plan'])
  await expect(live.register('failing', FAILING)).rejects.toMatchObject({ code: 'invalid_plan' })
  await live.register('failing', FAILING)
  await expect(live.register('failing', from('runners'))).rejects.toMatchObject({ code: 'conflict' })
  await expect(live.watch('none').next()).rejects.toMatchObject({ code: 'not_found', message: 'no query "none"' })
  peer.refusals.set('Interest', ['query_stopped'])
  await expect(live.watch('failing').next()).rejects.toBeInstanceOf(CallplaneError)
})

test('a query that stops under a loop ends it with the reason, and one that is only interrupted goes on', async () => {
  fakeTime()
  const { peer, live, failing, loop } = await watching()
  const next = loop.next()
  peer.stop('failing', 'overloaded')
  peer.change('failing', [b1, 1])
  await pass(3_000)
  expect((await next).value).toMatchObject({ rows: [a1, b1], diffs: [[b1, 1]] })
  const stopped = expect(loop.next()).rejects.toMatchObject({ code: 'query_stopped' })
  const other = live.watch(failing)
  await other.next()
  peer.stop('failing', 'query_stopped')
  await stopped
  await expect(other.next()).rejects.toMatchObject({ code: 'query_stopped' })
})

test('a refusal that passes is waited out', async () => {
  fakeTime()
  const { peer, live } = setup()
  for (const tag of ['Auth', 'Register', 'Interest'] as const) peer.refusals.set(tag, ['overloaded', 'overloaded'])
  const registered = live.register('failing', FAILING)
  await pass(20_000)
  const next = live.watch(await registered).next()
  await pass(20_000)
  expect((await next).value).toMatchObject({ rows: [] })
})

test('without a peer for five minutes a first use fails, and a watch that had one goes on', async () => {
  fakeTime()
  const { peer, loop, live } = await watching()
  const never = setup()
  never.peer.isDown = true
  peer.isDown = true
  peer.open[0]?.cut()
  const unreachable = expect.objectContaining({ code: 'plane_unreachable' })
  const failed = [
    expect(never.live.watch('failing').next()).rejects.toEqual(unreachable),
    expect(never.live.status()).rejects.toEqual(unreachable),
    expect(live.status()).rejects.toEqual(unreachable),
  ]
  const next = loop.next()
  await pass(330_000)
  await Promise.all(failed)
  peer.isDown = false
  peer.change('failing', [b1, 1])
  await pass(10_000)
  expect((await next).value).toMatchObject({ rows: [a1, b1] })
})

test('a peer that falls silent is left for another try', async () => {
  fakeTime()
  const { peer, loop } = await watching()
  await pass(29_000)
  peer.progress('failing')
  await pass(30_000)
  expect(peer.asked('Status')).toEqual([])
  await pass(31_000)
  expect(peer.asked('Status')).toHaveLength(1)
  // To the letter, so that a peer that sleeps need not wake for it.
  expect(peer.frames.at(-1)).toBe(SIGN_OF_LIFE)
  await pass(600_000)
  expect(peer.sockets).toHaveLength(1)
  peer.silent.add('Status')
  await pass(92_000)
  expect(peer.sockets.length).toBeGreaterThan(1)
  peer.silent.clear()
  peer.change('failing', [b1, 1])
  await pass(1_000)
  expect((await loop.next()).value).toMatchObject({ rows: [a1, b1] })
})

test('a frame that is no JSON ends the connection, and the loop does not see it', async () => {
  fakeTime()
  const { peer, loop } = await watching()
  peer.open[0]?.fire('message', '{"QueryDiff":')
  peer.open[0]?.fire('message', new ArrayBuffer(1))
  peer.change('failing', [b1, 1])
  await pass(1_000)
  expect(peer.sockets).toHaveLength(2)
  expect((await loop.next()).value).toMatchObject({ rows: [a1, b1] })
})

test('options that there are not are refused, by a loop and by callbacks', async () => {
  const { live } = setup()
  const wrong: object = { interval: 5 }
  await expect(live.watch('failing', wrong).next()).rejects.toThrow('watch has no option "interval"')
  const onError = vi.fn<(error: unknown) => void>()
  live.watch('failing', { ...wrong, onChange: () => {}, onError })
  await settle()
  expect(onError.mock.calls.map(String)).toEqual([expect.stringContaining('watch has no option "interval"')])
})
