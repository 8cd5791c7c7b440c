// Calls over the wire, by hand: create, wait, cancel, ask, and the JSON door.
import { describe, expect, test } from 'vitest'
import { inProcessBell } from '../../src/bell/in-process.ts'
import { decodePayload, encodePayload } from '../../src/protocol/codec.ts'
import { newCallId } from '../../src/protocol/call-id.ts'
import { setup, type TestPlane } from '../support/plane.ts'
import { aCall, create, pollOnce, post, succeeded, threw } from '../support/wire.ts'

const get = (plane: TestPlane, path: string, key = plane.key) =>
  plane.app.request(path, { headers: { authorization: `Bearer ${key}` } })

const callAsJson = (plane: TestPlane, path: string, body: string, key = plane.key) =>
  plane.app.request(path, { method: 'POST', body, headers: { authorization: `Bearer ${key}` } })

describe('create and wait', () => {
  test('a call is accepted, claimed, reported, and its outcome arrives on the request that made it', async () => {
    const plane = await setup()
    const call = await aCall()
    const answer = create(plane, [call], 20_000)
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    expect(jobs).toMatchObject([{ id: call.id, service: 'greeter', function: 'hello', attempt: 1, fence: 1 }])
    expect((await pollOnce(plane, { reports: jobs.map((job) => succeeded(job, 'hello')) })).reports).toEqual([{}])
    const [accepted, ended, last] = await answer
    expect(accepted).toEqual({ accepted: [{ id: call.id }] })
    expect(ended).toMatchObject({ id: call.id, outcome: { ended: 'succeeded' } })
    expect(last).toEqual({ isComplete: true })
  })

  test('the outcomes of a batch stream as they come', async () => {
    const plane = await setup()
    const calls = await Promise.all([aCall({ priority: 1 }), aCall()])
    const answer = create(plane, calls, 20_000)
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    for (const job of jobs.toReversed()) await pollOnce(plane, { capacity: 0, reports: [succeeded(job, job.id)] })
    const frames = await answer
    expect(frames.map((frame) => ('id' in frame ? frame.id : Object.keys(frame)[0]))).toEqual([
      'accepted',
      calls[1]?.id,
      calls[0]?.id,
      'isComplete',
    ])
  })

  test('a wait that ends before its calls says so, and the wait endpoint goes on', async () => {
    const plane = await setup()
    const call = await aCall()
    expect(await create(plane, [call], 1)).toEqual([{ accepted: [{ id: call.id }] }, { isComplete: false }])
    const wait = post(plane, '/v1/calls/wait', { ids: [call.id, newCallId()], waitMs: 20_000 })
    const { jobs } = await pollOnce(plane)
    await pollOnce(plane, { reports: jobs.map((job) => threw(job, new TypeError('no'), false)) })
    const frames = (await wait).body
    expect(frames).toMatchObject([
      { error: { code: 'not_found' } },
      { id: call.id, outcome: { ended: 'threw' } },
      { isComplete: true },
    ])
  })

  test('the same create again is the same job, and gets its outcome at once when there is one', async () => {
    const plane = await setup()
    const call = await aCall()
    await create(plane, [call])
    const { jobs } = await pollOnce(plane)
    await pollOnce(plane, { reports: jobs.map((job) => succeeded(job, 1)) })
    expect(await create(plane, [call], 20_000)).toMatchObject([
      { accepted: [{ id: call.id }] },
      { outcome: { ended: 'succeeded' } },
      { isComplete: true },
    ])
    expect((await pollOnce(plane)).jobs).toEqual([])
  })

  test('calls of one batch are jobs of their own functions, where names with dots look alike', async () => {
    const plane = await setup()
    const calls = [
      await aCall({ service: 'mail', function: 'v2.send' }),
      await aCall({ service: 'mail.v2', function: 'send' }),
    ]
    const services = calls.map((call) => ({ name: call.service, slots: 1, functions: [{ name: call.function }] }))
    const registered = await post(plane, '/v1/runners/register', { runner: crypto.randomUUID(), services })
    expect(registered.status).toBe(200)
    await create(plane, calls)
    const status = async (id: string) => (await get(plane, `/v1/calls/${id}`)).json()
    for (const { id, service, function: name } of calls)
      expect(await status(id)).toMatchObject({ service, function: name })
  })

  test('one bad call of a batch does not hold back the others', async () => {
    const plane = await setup()
    const good = await aCall()
    const old = await aCall({ id: newCallId(Date.now() - 5 * 86_400_000) })
    const [accepted] = await create(plane, [old, good])
    expect(accepted).toMatchObject({
      accepted: [{ id: old.id, error: { code: 'call_id_expired' } }, { id: good.id }],
    })
    expect((await pollOnce(plane)).jobs).toHaveLength(1)
  })
})

describe('bad input changes nothing and says what to do', () => {
  const refused: [string, (plane: TestPlane) => Promise<object>, number, string, RegExp][] = [
    ['an id twice', async () => twice(await aCall()), 400, 'invalid_request', /twice/],
    ['no calls', async () => ({ calls: [] }), 400, 'invalid_request', /body\.calls must hold 1 to/],
    ['a field too many', async () => ({ calls: [{ ...(await aCall()), later: 1 }] }), 400, 'invalid_request', /later/],
    ['a bad name', async () => ({ calls: [await aCall({ service: 'a b' })] }), 400, 'invalid_name', /"a b"/],
    ['a reserved name', async () => ({ calls: [await aCall({ function: 'then' })] }), 400, 'invalid_name', /then/],
    ['a bad id', async () => ({ calls: [await aCall({ id: 'x' })] }), 400, 'invalid_request', /calls\[0\]\.id/],
    ['a short digest', async () => digest(await aCall(), 31), 400, 'invalid_request', /argsDigest must be 32 bytes/],
    [
      'a large payload',
      async () => large(await aCall()),
      413,
      'payload_too_large',
      /1048577 bytes and may have 1048576/,
    ],
    ['a bad wait', async () => ({ calls: [await aCall()], waitMs: 26_000 }), 400, 'invalid_request', /waitMs/],
    ['a bad delay', async () => ({ calls: [await aCall({ delayMs: -1 })] }), 400, 'invalid_request', /delayMs/],
  ]
  const twice = (call: object) => ({ calls: [call, call] })
  const digest = (call: object, bytes: number) => ({ calls: [{ ...call, argsDigest: new Uint8Array(bytes) }] })
  const large = (call: object) => ({ calls: [{ ...call, args: new Uint8Array(1_048_577) }] })

  test.each(refused)('%s', async (_, body, status, code, message) => {
    const plane = await setup()
    const answer = await post(plane, '/v1/calls', await body(plane))
    expect(answer).toMatchObject({ status, body: { error: { code, message: expect.stringMatching(message) } } })
    const rows = await plane.sql('select 1 as one from callplane.jobs where namespace = $1', [plane.namespace])
    expect(rows).toEqual([])
  })

  test('another content type is 415, malformed msgpack 400, a body over the cap 413', async () => {
    const plane = await setup()
    const ask = (body: Uint8Array<ArrayBuffer> | string | ReadableStream, type: string) =>
      plane.app.request('/v1/calls', {
        method: 'POST',
        headers: { authorization: `Bearer ${plane.key}`, 'content-type': type },
        body,
        ...(body instanceof ReadableStream ? { duplex: 'half' } : {}),
      })
    const code = async (answer: Promise<Response> | Response) =>
      ((await (await answer).json()) as { error: { code: string } }).error.code
    expect(await code(ask('{}', 'application/json'))).toBe('unsupported_media_type')
    expect(await code(ask(new Uint8Array([0xdd, 1, 0xc9, 0xc3, 0x80]), 'application/msgpack'))).toBe('invalid_msgpack')
    let pulled = 0
    const endless = new ReadableStream({
      pull(controller) {
        pulled += 65_536
        controller.enqueue(new Uint8Array(65_536))
      },
    })
    expect(await code(ask(endless, 'application/msgpack'))).toBe('payload_too_large')
    expect(pulled).toBeLessThan(6_000_000)
  })

  test('an unknown id is 404, a path that is none too', async () => {
    const plane = await setup()
    const answer = await get(plane, `/v1/calls/${newCallId()}`)
    expect(answer.status).toBe(404)
    expect(await answer.json()).toMatchObject({ error: { code: 'not_found' } })
    expect((await get(plane, '/v1/nothing')).status).toBe(404)
    expect((await get(plane, '/v1/calls/not-an-id')).status).toBe(400)
  })
})

describe('a call that waits says why', () => {
  test('nobody has registered the function; then its runners are away; then time', async () => {
    const plane = await setup()
    const call = await aCall()
    await create(plane, [call])
    const status = async (id: string) => (await get(plane, `/v1/calls/${id}`)).json()
    expect(await status(call.id)).toMatchObject({
      state: 'pending',
      waitingFor: 'runner',
      reason: expect.stringContaining('no runner has registered greeter.hello'),
    })
    const services = [{ name: 'greeter', slots: 1, functions: [{ name: 'hello' }] }]
    await post(plane, '/v1/runners/register', { runner: crypto.randomUUID(), services })
    expect(await status(call.id)).toMatchObject({ reason: expect.stringContaining('busy or away') })
    const delayed = await aCall({ delayMs: 60_000 })
    await create(plane, [delayed])
    expect(await status(delayed.id)).toMatchObject({ waitingFor: 'time', runAt: expect.stringContaining('T') })
  })
})

describe('a repeat of what was committed before its ring was lost', () => {
  test('a create wakes the runner that waits', async () => {
    const rings: object[] = []
    const bell = inProcessBell({ lookEveryMs: Number.POSITIVE_INFINITY })
    let isDead = true
    const plane = await setup({
      bell: {
        ...bell,
        ring: async (ring) => {
          rings.push(ring)
          if (!isDead) await bell.ring(ring)
        },
      },
    })
    const call = await aCall()
    const poll = pollOnce(plane, { waitMs: 20_000 })
    await expect.poll(() => plane.statements().some((text) => text.includes('for update skip locked'))).toBe(true)
    await create(plane, [call])
    isDead = false
    await create(plane, [call])
    expect((await poll).jobs).toHaveLength(1)
    const waiting = create(plane, [call], 20_000)
    isDead = true
    const reports = (await poll).jobs.map((job) => succeeded(job, 1))
    await pollOnce(plane, { capacity: 0, reports })
    isDead = false
    await pollOnce(plane, { capacity: 0, reports })
    expect(await waiting).toMatchObject([{}, { outcome: { ended: 'succeeded' } }, { isComplete: true }])
  })
})

describe('cancel', () => {
  test('a pending call is cancelled and its caller told; one that has ended keeps its end', async () => {
    const plane = await setup()
    const [pending, done] = await Promise.all([aCall(), aCall({ service: 'other' })])
    await create(plane, [done])
    const { jobs } = await pollOnce(plane, { service: 'other' })
    await pollOnce(plane, { reports: jobs.map((job) => succeeded(job, 1)) })
    const answer = create(plane, [pending], 20_000)
    await expect.poll(async () => (await get(plane, `/v1/calls/${pending.id}`)).status).toBe(200)
    const ids = [pending.id, done.id, newCallId()]
    expect((await post(plane, '/v1/calls/cancel', { ids, reason: 'enough' })).body).toMatchObject({
      calls: [{ state: 'cancelled' }, { state: 'succeeded' }, { error: { code: 'not_found' } }],
    })
    expect((await answer)[1]).toMatchObject({ outcome: { ended: 'cancelled', message: 'enough' } })
  })

  test('the runner of a cancelled call learns it at its next heartbeat', async () => {
    const plane = await setup()
    const call = await aCall()
    await create(plane, [call])
    const { jobs } = await pollOnce(plane)
    await post(plane, '/v1/calls/cancel', { ids: [call.id] })
    const heartbeats = jobs.map(({ id, token }) => ({ id, token }))
    const reports = jobs.map((job) => succeeded(job, 1))
    const answer = await pollOnce(plane, { heartbeats, reports, waitMs: 20_000 })
    expect(answer).toMatchObject({
      heartbeats: [{ error: { code: 'lease_lost' } }],
      reports: [{ error: { code: 'lease_lost' } }],
      jobs: [],
    })
  })
})

describe('the JSON door', () => {
  test('a JSON array in, the result as JSON out', async () => {
    const plane = await setup()
    const answer = callAsJson(plane, '/v1/call/greeter/hello', '["Ada", {"n": 1}]')
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    expect(jobs.map((job) => decodePayload(job.args))).toEqual([['Ada', { n: 1 }]])
    await pollOnce(plane, { reports: jobs.map((job) => succeeded(job, { hello: 'Ada', at: new Date(0), big: 5n })) })
    const response = await answer
    expect(response.status).toBe(200)
    expect(response.headers.get('callplane-call-id')).toBe(jobs[0]?.id)
    expect(await response.json()).toEqual({ hello: 'Ada', at: '1970-01-01T00:00:00.000Z', big: '5' })
  })

  test('what the function throws is 424 with name and message, and without a stack', async () => {
    const plane = await setup()
    const answer = callAsJson(plane, '/v1/call/greeter/hello', '[]')
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    await pollOnce(plane, { reports: jobs.map((job) => threw(job, new RangeError('too much'))) })
    const response = await answer
    expect(response.status).toBe(424)
    expect(await response.json()).toEqual({
      error: { code: 'function_failed', name: 'RangeError', message: 'too much' },
    })
  })

  test('encrypted results are a named error', async () => {
    const plane = await setup()
    const answer = callAsJson(plane, '/v1/call/greeter/hello', '[]')
    const { jobs } = await pollOnce(plane, { waitMs: 20_000 })
    const encrypted = new Uint8Array([0x02, 1, 2, 3])
    await pollOnce(plane, { reports: jobs.map((job) => ({ ...succeeded(job, 1), result: encrypted })) })
    const response = await answer
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ error: { code: 'encrypted' } })
    const status = await get(plane, `/v1/calls/${jobs[0]?.id}`)
    expect(await status.json()).toMatchObject({ state: 'succeeded', result: { $unreadable: 'encrypted' } })
  })

  test('what is no array of arguments is refused', async () => {
    const plane = await setup()
    for (const body of ['', '{"name": "Ada"}', '"Ada"', '[', '\xff']) {
      const response = await callAsJson(plane, '/v1/call/greeter/hello', body)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ error: { code: 'invalid_json' } })
    }
    expect((await callAsJson(plane, '/v1/call/greeter/th en', '[]')).status).toBe(400)
  })

  test('the timeline shows each attempt, and what it threw', async () => {
    const plane = await setup()
    const call = await aCall({ retry: { attempts: 2, backoff: { initialMs: 0 } } })
    await create(plane, [call])
    for (const error of [new Error('first'), new Error('second')]) {
      const { jobs } = await pollOnce(plane)
      await pollOnce(plane, { capacity: 0, reports: jobs.map((job) => threw(job, error)) })
    }
    const status = (await (await get(plane, `/v1/calls/${call.id}`)).json()) as {
      attempts: object[]
      timeline: object[]
    }
    expect(status).toMatchObject({ state: 'failed', failure: 'threw', error: { message: 'second' } })
    expect(status.attempts).toMatchObject([
      { attempt: 1, fence: 1, outcome: 'threw', error: { message: 'first' } },
      { attempt: 2, fence: 2, outcome: 'threw', error: { message: 'second' } },
    ])
    expect(status.timeline).toMatchObject([
      { to: 'pending', attempt: 0 },
      { from: 'pending', to: 'running', attempt: 1, fence: 1 },
      { from: 'running', to: 'pending', attempt: 1, fence: 1 },
      { from: 'pending', to: 'running', attempt: 2, fence: 2 },
      { from: 'running', to: 'failed', attempt: 2, fence: 2 },
    ])
    expect(JSON.stringify(status)).not.toContain(import.meta.filename)
  })

  test('a call that is cancelled between two attempts ends there', async () => {
    const plane = await setup()
    const call = await aCall({ retry: { attempts: 2, backoff: { initialMs: 60_000 } } })
    await create(plane, [call])
    const { jobs } = await pollOnce(plane)
    await pollOnce(plane, { capacity: 0, reports: jobs.map((job) => threw(job, new Error('first'))) })
    await post(plane, '/v1/calls/cancel', { ids: [call.id] })
    const { timeline } = (await (await get(plane, `/v1/calls/${call.id}`)).json()) as { timeline: { to: string }[] }
    expect(timeline.map(({ to }) => to)).toEqual(['pending', 'running', 'pending', 'cancelled'])
  })
})

test('a payload that the plane stores is the payload that it hands out, to the byte', async () => {
  const plane = await setup()
  const call = await aCall({ values: [new Map([[1, new Date(5)]]), undefined, -0] })
  await create(plane, [call])
  const { jobs } = await pollOnce(plane)
  expect(jobs[0]?.args).toEqual(call.args)
  const result = encodePayload({ deep: [1n, new Set([NaN])] }, 'result')
  await pollOnce(plane, { reports: jobs.map((job) => ({ ...succeeded(job, 0), result })) })
  const [, ended] = await create(plane, [call], 1_000)
  expect(ended).toMatchObject({ outcome: { result } })
})
