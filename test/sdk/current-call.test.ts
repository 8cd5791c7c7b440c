// What a function knows of the call that it runs for, and what it can tell about it.
import { expect, test, vi } from 'vitest'
import { decodePayload } from '../../src/protocol/codec.ts'
import { currentCall, type CurrentCall } from '../../src/sdk/index.ts'
import { CREATE, fakeTime, job, pass, POLL, serve, settle } from './fake-plane.ts'

test('currentCall tells of the attempt, also after an await and in what the function calls', async () => {
  const seen: CurrentCall[] = []
  const deep = async () => {
    await settle()
    seen.push(currentCall())
  }
  const { fake, poll } = await serve({
    outer: async () => {
      seen.push(currentCall())
      await deep()
    },
  })
  const one = job('mailer', 'outer', [], { attempt: 2, fence: 7, parent: '01a1ff7d-677e-76ed-826b-4d004ed1c8f7' })
  const two = job('mailer', 'outer', [])
  poll.deliver([one, two])
  await fake.next(POLL)
  await expect.poll(() => seen.length).toBe(4)
  expect(seen.map(({ id }) => id)).toEqual([one.id, two.id, one.id, two.id])
  expect(seen[2]).toBe(seen[0])
  const { id, attempt, fence, parent, signal } = seen[0] as CurrentCall
  expect({ id, attempt, fence, parent }).toEqual({ id: one.id, attempt: 2, fence: 7, parent: one.parent })
  expect(signal.aborted).toBe(false)
  expect(seen[1]?.parent).toBeUndefined()
})

test('outside a function there is no call', () => {
  expect(() => currentCall()).toThrow(expect.objectContaining({ code: 'no_call' }))
})

test('calls made inside a function name their parent, those made outside do not', async () => {
  const { fake, plane, poll } = await serve({
    outer: async () => {
      await settle()
      void plane.client('other')['inner']?.()
    },
  })
  const one = job('mailer', 'outer', [])
  poll.deliver([one])
  const inside = await fake.next(CREATE)
  expect(inside.body.calls[0]?.parent).toBe(one.id)
  void plane.client('other')['inner']?.()
  expect((await fake.next(CREATE)).body.calls[0]?.parent).toBeUndefined()
})

test('progress goes out with the next heartbeat, the latest value only, at most twice a second', async () => {
  fakeTime()
  let call: CurrentCall | undefined
  const { fake, poll } = await serve({
    work: () => {
      call = currentCall()
      return new Promise<never>(() => {})
    },
  })
  poll.deliver([job('mailer', 'work', [])])
  await pass(10)
  await fake.next(POLL)
  const values: unknown[] = []
  fake.always(POLL, (asked) => {
    values.push(...(asked.body.heartbeats ?? []).map(({ progress }) => progress && decodePayload(progress)))
    asked.deliver([])
  })
  for (let step = 0; step < 100; step++) {
    call?.progress(step)
    await pass(20)
  }
  await pass(1_000)
  expect(values.length).toBeLessThanOrEqual(6)
  expect(values.at(-1)).toBe(99)
  expect(() => call?.progress(() => 1)).toThrow('progress: functions cannot be sent')
})

test('heartbeat renews now, carries the progress, and rejects where the lease is lost', async () => {
  let call: CurrentCall | undefined
  const { fake, poll } = await serve({
    work: () => {
      call = currentCall()
      return new Promise<never>(() => {})
    },
  })
  const one = job('mailer', 'work', [])
  poll.deliver([one])
  await fake.next(POLL)
  call?.progress('half')
  const renewed = call?.heartbeat()
  const beat = await fake.next(POLL)
  expect(beat.body.heartbeats).toMatchObject([{ id: one.id, token: one.token }])
  expect(decodePayload(beat.body.heartbeats?.[0]?.progress ?? new Uint8Array())).toBe('half')
  beat.deliver([])
  await renewed
  const lost = call?.heartbeat()
  ;(await fake.next(POLL)).deliver([], { heartbeats: [{ error: { code: 'lease_lost', message: 'gone' } }] })
  await expect(lost).rejects.toMatchObject({ code: 'lease_lost' })
  expect(call?.signal.aborted).toBe(true)
})

test('an attempt that lost its lease is told so by its signal, and its result is dropped', async () => {
  fakeTime()
  const gate = Promise.withResolvers<string>()
  let signal: AbortSignal | undefined
  const { fake, poll } = await serve({
    work: () => {
      signal = currentCall().signal
      return gate.promise
    },
  })
  poll.deliver([job('mailer', 'work', [])])
  await pass(10)
  await fake.next(POLL)
  await pass(5_100)
  const beat = await fake.next(POLL)
  beat.deliver([], { heartbeats: [{ error: { code: 'lease_lost', message: 'cancelled' } }] })
  await settle()
  expect(signal?.reason).toMatchObject({ code: 'lease_lost' })
  const polls = fake.count(POLL)
  gate.resolve('too late')
  await pass(60_000)
  expect(fake.asked.slice(polls).flatMap((asked) => asked.body.reports ?? [])).toEqual([])
})

test('heartbeats go out every third of a lease, for all attempts together', async () => {
  fakeTime()
  const { fake, poll } = await serve({ work: () => new Promise<never>(() => {}) })
  const beats: { atMs: number; jobs: number }[] = []
  const startMs = performance.now()
  poll.deliver([job('mailer', 'work', []), job('mailer', 'work', [], { leaseMs: 12_000 })])
  await pass(10)
  await fake.next(POLL)
  fake.always(POLL, (asked) => {
    beats.push({ atMs: performance.now() - startMs, jobs: asked.body.heartbeats?.length ?? 0 })
    asked.deliver([])
  })
  await pass(30_000)
  // The first lease is 15 s, or what is left of it; the later ones are of 30 s.
  expect(beats.map(({ atMs }) => Math.round(atMs / 1_000))).toEqual([4, 14, 24])
  expect(beats.every(({ jobs }) => jobs === 2)).toBe(true)
})

test('a heartbeat that does not arrive is sent again', async () => {
  fakeTime()
  const { fake, poll } = await serve({ work: () => new Promise<never>(() => {}) }, { slots: 1 })
  poll.deliver([job('mailer', 'work', [])])
  await pass(5_100)
  ;(await fake.next(POLL)).break()
  await pass(100)
  const again = await fake.next(POLL)
  expect(again.body.heartbeats?.length).toBe(1)
  again.deliver([], { heartbeats: [{ error: { code: 'database_unavailable', message: 'soon' } }] })
  await pass(200)
  expect((await fake.next(POLL)).body.heartbeats?.length).toBe(1)
})

test('when the time of an attempt is over its signal aborts, and a late result is still sent', async () => {
  fakeTime()
  const gate = Promise.withResolvers<string>()
  let signal: AbortSignal | undefined
  const { fake, poll } = await serve({
    work: () => {
      signal = currentCall().signal
      return gate.promise
    },
  })
  poll.deliver([job('mailer', 'work', [], { timeoutMs: 3_000, leaseMs: 3_000 })])
  await pass(10)
  await fake.next(POLL)
  fake.always(POLL, (asked) => asked.deliver([]))
  await pass(2_900)
  expect(signal?.aborted).toBe(false)
  await pass(200)
  expect(signal?.reason).toMatchObject({ code: 'call_timed_out' })
  gate.resolve('late')
  await settle()
  expect(fake.asked.flatMap((asked) => asked.body.reports ?? []).length).toBe(1)
})

test('a signal that is asked for after it aborted is aborted', async () => {
  fakeTime()
  let call: CurrentCall | undefined
  const { poll } = await serve({
    work: () => {
      call = currentCall()
      return new Promise<never>(() => {})
    },
  })
  poll.deliver([job('mailer', 'work', [], { timeoutMs: 1_000 })])
  await pass(1_100)
  expect(call?.signal.aborted).toBe(true)
})

test('without AsyncLocalStorage, currentCall is right up to the first await', async () => {
  vi.resetModules()
  vi.doMock('../../src/sdk/runtime.ts', async (original) => ({
    ...(await original<object>()),
    findAsyncStore: () => null,
    importAsyncStore: async () => null,
  }))
  const { currentCall: current, prepareStore, runInCall } = await import('../../src/sdk/current-call.ts')
  await prepareStore()
  const call = { id: 'a' } as CurrentCall
  const later = runInCall(call, async () => {
    expect(current()).toBe(call)
    expect(runInCall({ ...call, id: 'b' }, () => current().id)).toBe('b')
    expect(current()).toBe(call)
    await settle()
    expect(() => current()).toThrow(expect.objectContaining({ code: 'no_call' }))
  })
  expect(() => current()).toThrow(expect.objectContaining({ code: 'no_call' }))
  await later
  vi.doUnmock('../../src/sdk/runtime.ts')
})
