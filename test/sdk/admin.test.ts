// callplane/admin: what those do with calls who operate a plane, against the real one.
import { Callplane, CallplaneError } from 'callplane'
import { admin, type RedrivenCall } from 'callplane/admin'
import { expect, onTestFinished, test } from 'vitest'
import { setup, type TestPlane } from '../support/plane.ts'

function connect(plane: TestPlane, key = plane.key): Callplane {
  const connected = new Callplane({ ...plane.options, key })
  onTestFinished(() => connected.close())
  return connected
}

/** A service whose function throws until it is mended, and how many calls of it. */
async function failing(plane: TestPlane, count: number, { service = 'mailer' } = {}) {
  const connected = connect(plane)
  const state = { isMended: false }
  const mailer = connected.service(service, {
    functions: {
      send: (to: string) => {
        if (!state.isMended) throw new RangeError(`no route to ${to}`)
        return `sent to ${to}`
      },
    },
  })
  await mailer.start()
  const client = connected.client<typeof mailer>(mailer.name)
  const started = await client.send.batch(Array.from({ length: count }, (_, n): [string] => [`n${n}`]))
  const calls = started.map((call) => {
    if (call instanceof CallplaneError) throw call
    return call
  })
  await Promise.allSettled(calls.map((call) => call.result()))
  return { connected, state, ids: calls.map(({ id }) => id), calls: admin(connected).calls }
}

async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of list) items.push(item)
  return items
}

const idsOf = async (list: AsyncIterable<{ id: string }>) => (await all(list)).map(({ id }) => id)

test('a list is every call that fits, page after page, with dates', async () => {
  const plane = await setup()
  const { ids, calls } = await failing(plane, 450)
  plane.statements()
  const listed = await all(calls.list({ state: 'failed', service: 'mailer' }))
  expect(new Set(listed.map(({ id }) => id))).toEqual(new Set(ids))
  expect(plane.statements().filter((text) => text.includes('with looked'))).toHaveLength(3)
  expect(listed[0]).toMatchObject({ service: 'mailer', function: 'send', failure: 'threw', attempt: 1, maxAttempts: 3 })
  expect(Math.abs((listed[0]?.finishedAt?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000)
  expect(listed[0]?.createdAt).toBeInstanceOf(Date)
  expect(await idsOf(calls.list({ state: ['pending', 'running'] }))).toEqual([])
  expect(await idsOf(calls.list())).toHaveLength(450)
})

test('a loop that stops asks for no more', async () => {
  const plane = await setup()
  const { calls } = await failing(plane, 250)
  plane.statements()
  for await (const _ of calls.list()) break
  expect(plane.statements().filter((text) => text.includes('with looked'))).toHaveLength(1)
})

test('one call is shown with its attempts and what they threw', async () => {
  const plane = await setup()
  const { ids, calls, state } = await failing(plane, 1)
  const [id = ''] = ids
  const record = await calls.get(id)
  expect(record).toMatchObject({ id, state: 'failed', failure: 'threw', error: new RangeError('no route to n0') })
  expect(record.attempts).toMatchObject([
    { attempt: 1, fence: 1, outcome: 'threw', error: new RangeError('no route to n0'), startedAt: expect.any(Date) },
  ])
  expect(record.attempts[0]?.endedAt?.getTime()).toBeGreaterThanOrEqual(record.attempts[0]?.startedAt.getTime() ?? NaN)
  state.isMended = true
  const [heir] = await calls.redrive([id])
  if (heir === undefined || !('redrivenAs' in heir)) throw new Error('not redriven')
  await expect.poll(async () => (await calls.get(heir.redrivenAs)).state).toBe('succeeded')
  expect(await calls.get(heir.redrivenAs)).toMatchObject({ result: 'sent to n0', redrivenFrom: id, origin: id })
  await expect(calls.get(crypto.randomUUID())).rejects.toMatchObject({ code: 'not_found' })
})

test('redrive by ids answers in their order, again the same, and an error where there is one', async () => {
  const plane = await setup()
  const { connected, ids, calls } = await failing(plane, 2)
  const unknown = crypto.randomUUID()
  const waiting = await connected.client('nobody')['wait']?.start()
  const asked = [ids[1] ?? '', unknown, ids[0]?.toUpperCase() ?? '', waiting?.id ?? '', ids[1] ?? '']
  const first = await calls.redrive(asked)
  expect(first).toMatchObject([
    { id: ids[1], isNew: true },
    { id: unknown, error: { code: 'not_found' } },
    { id: ids[0], isNew: true },
    { id: waiting?.id, error: { code: 'call_not_ended' } },
    { id: ids[1], isNew: true },
  ])
  expect(first[1]).toHaveProperty('error', expect.any(CallplaneError))
  const again = await calls.redrive(asked)
  expect(again[0]).toEqual({ ...first[0], isNew: false })
  expect(await calls.redrive([])).toEqual([])
})

test('redrive by a filter runs all of them anew, tells of its steps, and the next run finds none', async () => {
  const plane = await setup()
  const { calls, state } = await failing(plane, 700)
  await failing(plane, 3, { service: 'other' })
  state.isMended = true
  const steps: (readonly RedrivenCall[])[] = []
  const options = { onStep: (step: readonly RedrivenCall[]) => void steps.push(step) }
  expect(await calls.redrive({ state: 'failed', service: 'mailer' }, options)).toEqual({
    redriven: 700,
    repeated: 0,
    refused: [],
  })
  expect(steps.map((step) => step.length)).toEqual([500, 200])
  expect(await calls.redrive({ service: 'mailer' })).toEqual({ redriven: 0, repeated: 0, refused: [] })
  await expect
    .poll(() => idsOf(calls.list({ state: 'succeeded', service: 'mailer' })), { timeout: 20_000 })
    .toHaveLength(700)
  expect(await idsOf(calls.list({ service: 'other' }))).toHaveLength(3)
})

test('cancel by a filter takes what has not ended, by ids what is named', async () => {
  const plane = await setup()
  const { connected, ids, calls } = await failing(plane, 1)
  const waiting = await connected.client('nobody')['wait']?.batch(Array.from({ length: 230 }, () => []))
  const open = (waiting ?? []).flatMap((call) => (call instanceof CallplaneError ? [] : [call.id]))
  const [first = '', ...rest] = open
  const unknown = crypto.randomUUID()
  expect(await calls.cancel([first, ids[0] ?? '', unknown], { reason: 'enough' })).toMatchObject([
    { id: first, state: 'cancelled' },
    { id: ids[0], state: 'failed' },
    { id: unknown, error: { code: 'not_found' } },
  ])
  expect((await calls.get(first)).reason).toBe('enough')
  const steps: number[] = []
  const totals = await calls.cancel({ service: 'nobody' }, { onStep: (step) => void steps.push(step.length) })
  expect([totals, steps]).toEqual([{ cancelled: rest.length, ended: 0 }, [200, 29]])
  expect(await calls.cancel({ service: 'nobody' })).toEqual({ cancelled: 0, ended: 0 })
  expect(await idsOf(calls.list({ state: 'cancelled' }))).toHaveLength(230)
})

test('what is no filter or no id is refused before anything is sent', async () => {
  const plane = await setup()
  const { calls } = admin(connect(plane))
  const refused: [() => Promise<unknown>, RegExp][] = [
    [() => calls.cancel({}), /calls\.cancel takes a filter that says something/],
    [() => calls.redrive({ service: undefined }), /calls\.redrive takes a filter that says something/],
    [() => calls.cancel({ state: 'failed' }), /a call that is failed has ended/],
    // @ts-expect-error -- no such field
    [() => calls.redrive({ states: 'failed' }), /calls\.redrive has no option "states": use state, /],
    // @ts-expect-error -- no such state
    [() => calls.redrive({ state: 'gone' }), /state must be one of pending, .*, not "gone"/],
    [() => calls.redrive({ failure: [] }), /failure must be one of threw/],
    [() => calls.cancel({ olderThanMs: 0.5 }), /olderThanMs must be a whole number/],
    [() => calls.cancel({ parent: 'x' }), /the id of a call must be a UUID, not "x"/],
    [() => calls.redrive(['x']), /the id of a call must be a UUID/],
    [() => calls.get('x'), /the id of a call must be a UUID/],
    [() => idsOf(calls.list({ service: 'two words' })), /cannot name a service/],
  ]
  for (const [run, message] of refused) await expect(run()).rejects.toThrow(message)
  expect(plane.statements()).toEqual([])
  expect(() => admin({} as Callplane)).toThrow(/admin needs a Callplane/)
})

test('a key without the scope is told so; a closed Callplane too', async () => {
  const plane = await setup()
  const caller = admin(connect(plane, await plane.newKey([{ scope: 'call' }]))).calls
  await expect(idsOf(caller.list())).rejects.toMatchObject({ code: 'forbidden' })
  await expect(caller.redrive({ state: 'failed' })).rejects.toMatchObject({ code: 'forbidden' })
  await expect(caller.cancel({ state: 'pending' })).rejects.toMatchObject({ code: 'forbidden' })
  expect(await caller.redrive([crypto.randomUUID()])).toMatchObject([{ error: { code: 'not_found' } }])
  const closed = connect(plane)
  await closed.close()
  await expect(idsOf(admin(closed).calls.list())).rejects.toMatchObject({ code: 'closed' })
})

test('an answer that is lost is asked for again, and nothing is redriven twice', async () => {
  const plane = await setup()
  const { ids } = await failing(plane, 5)
  let requests = 0
  const fetch: typeof plane.options.fetch = async (input, init) => {
    const response = await plane.options.fetch(input, init)
    if (++requests % 2 === 1) throw new TypeError('the answer is lost')
    return response
  }
  const shaky = new Callplane({ ...plane.options, fetch })
  onTestFinished(() => shaky.close())
  const { calls } = admin(shaky)
  await calls.redrive({ service: 'mailer' })
  const heirs = (await all(calls.list())).filter(({ redrivenFrom }) => redrivenFrom !== undefined)
  expect(new Set(heirs.map(({ redrivenFrom }) => redrivenFrom))).toEqual(new Set(ids))
  expect(heirs).toHaveLength(5)
})
