// What users do with the SDK, and what goes wrong for them: one suite for every host that a plane runs on.
import { setTimeout as realTime } from 'node:timers/promises'
import { Callplane, CallplaneError, currentCall, define, NonRetryableError } from 'callplane'
import { admin } from 'callplane/admin'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import type { CallStatus as WireStatus } from '../../src/protocol/calls.ts'

/** A namespace of its own on some plane: what the SDK needs to know. */
export interface Host {
  options: { url: string; key: string; fetch: typeof fetch }
}

/** A Callplane of the test, closed with it. */
function connect(plane: Host): Callplane {
  const connected = new Callplane(plane.options)
  onTestFinished(() => connected.close())
  return connected
}

async function serving(plane: Host) {
  const connected = connect(plane)
  const greeter = connected.service('greeter', {
    functions: {
      hello: async (name: string) => `hello ${name}`,
      sum: (...numbers: number[]) => numbers.reduce((total, number) => total + number, 0),
      nothing: () => {},
      fail: (kind: string) => {
        if (kind === 'string') throw 'just a string'
        if (kind === 'object') throw { code: 7 }
        if (kind === 'custom') {
          throw Object.assign(new RangeError('too far', { cause: new Error('the map ends') }), { code: 'E_FAR', at: 3 })
        }
        throw new TypeError('no')
      },
      who: () => currentCall().id,
    },
  })
  await greeter.start()
  return { connected, greeter, client: connected.client<typeof greeter>('greeter') }
}

/** Runs the suite; `setup` gives a fresh namespace. */
export function endToEnd(setup: () => Promise<Host>): void {
  describe('a call', () => {
    test('runs elsewhere and answers as if it were local', async () => {
      const { client } = await serving(await setup())
      expect(await client.hello('Ada')).toBe('hello Ada')
      expect(await client.sum(1, 2, 3)).toBe(6)
      expect(await client.nothing()).toBeUndefined()
    })

    test('keeps its runner as long as it takes, though every slot of it is busy and its lease is short', async () => {
      const plane = await setup()
      const begun: string[] = []
      const runner = (name: string) =>
        connect(plane).service('slow', {
          functions: {
            work: define({ leaseMs: 1_000 }, async () => {
              begun.push(name)
              await realTime(3_500)
              return name
            }),
          },
          slots: 1,
        })
      const first = runner('first')
      await first.start()
      const call = await connect(plane).client<typeof first>('slow').work.start()
      await expect.poll(() => begun).toEqual(['first'])
      await runner('second').start()
      expect(await call.result()).toBe('first')
      expect(begun).toEqual(['first'])
      expect(await call.status()).toMatchObject({ state: 'succeeded', attempt: 1 })
    })

    test('started, is durable, has an id, and its result can be asked for anywhere and again', async () => {
      const plane = await setup()
      const { client } = await serving(plane)
      const call = await client.hello.start('Ada')
      const elsewhere = connect(plane)
      expect(await elsewhere.call(call.id).result()).toBe('hello Ada')
      expect(await client.hello.handle(call.id).result()).toBe('hello Ada')
      expect(await call.result()).toBe('hello Ada')
      expect(await call.status()).toMatchObject({ id: call.id, state: 'succeeded', attempt: 1 })
    })

    test('in a batch, is one of many in one request, and one bad one does not hold back the rest', async () => {
      const plane = await setup()
      const { client } = await serving(plane)
      const calls = await client.hello.batch([['a'], [(() => 1) as unknown as string], ['c']])
      expect(calls[1]).toMatchObject({
        code: 'not_serializable',
        message: expect.stringContaining('functions cannot be sent'),
      })
      const results = calls.map((call) => (call instanceof CallplaneError ? call.code : call.result()))
      expect(await Promise.all(results)).toEqual(['hello a', 'not_serializable', 'hello c'])
    })

    test('waits where nobody serves it, and its status says why', async () => {
      const connected = connect(await setup())
      const client = connected.client<never>('nobody' as never) as Record<
        string,
        { start(): Promise<{ status(): Promise<object> }> }
      >
      const call = await client['anything']?.start()
      expect(await call?.status()).toMatchObject({
        state: 'pending',
        waitingFor: 'runner',
        reason: expect.stringContaining('no runner has registered nobody.anything'),
      })
    })

    test('that is delayed waits for its time', async () => {
      const { client } = await serving(await setup())
      const call = await client.hello.with({ delayMs: 60_000 }).start('later')
      const status = await call.status()
      expect(status).toMatchObject({ state: 'pending', waitingFor: 'time' })
      expect(status.runAt?.getTime()).toBeGreaterThan(Date.now() + 30_000)
      await call.cancel()
      await expect(call.result()).rejects.toMatchObject({ code: 'call_cancelled' })
    })

    test('whose signal aborts is cancelled, and rejects with the reason', async () => {
      const plane = await setup()
      const connected = connect(plane)
      const aborted = Promise.withResolvers<unknown>()
      const started = Promise.withResolvers<void>()
      const slow = connected.service('slow', {
        functions: {
          forever: async () => {
            const { signal, heartbeat } = currentCall()
            signal.addEventListener('abort', () => aborted.resolve(signal.reason))
            started.resolve()
            while (!signal.aborted) await heartbeat().catch(() => {})
          },
        },
      })
      await slow.start()
      const controller = new AbortController()
      const call = connected.client<typeof slow>('slow').forever.with({ signal: controller.signal })()
      await started.promise
      controller.abort(new Error('enough'))
      await expect(call).rejects.toThrow('enough')
      expect(await aborted.promise).toMatchObject({ code: 'lease_lost' })
    })
  })

  describe('errors', () => {
    test('arrive as themselves', async () => {
      const { client } = await serving(await setup())
      const error = await client.fail('custom').catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(RangeError)
      expect(error).toMatchObject({ name: 'RangeError', message: 'too far', code: 'E_FAR', at: 3 })
      expect((error as Error).stack).toContain('end-to-end.ts')
      expect((error as Error).cause).toMatchObject({ message: 'the map ends' })
      await expect(client.fail('')).rejects.toBeInstanceOf(TypeError)
      await expect(client.fail('string')).rejects.toBe('just a string')
      await expect(client.fail('object')).rejects.toEqual({ code: 7 })
    })

    test('of values that cannot be sent name the path: at the sender for arguments, at the caller for results', async () => {
      const connected = connect(await setup())
      const odd = connected.service('odd', {
        functions: { take: (..._: unknown[]) => {}, give: () => ({ items: [1, { fn() {} }] }) },
      })
      await odd.start()
      const client = connected.client<typeof odd>('odd')
      await expect(client.take(1, { items: [0, 1, 2, { fn() {} }] })).rejects.toMatchObject({
        code: 'not_serializable',
        message: 'args[1].items[3].fn: functions cannot be sent',
      })
      await expect(client.give()).rejects.toMatchObject({
        code: 'result_not_serializable',
        message: expect.stringContaining('result.items[1].fn'),
      })
      await expect(client.take('x'.repeat(1_100_000))).rejects.toMatchObject({ code: 'payload_too_large' })
    })

    test('of a bad key, no key and an unknown id say what to do', async () => {
      const plane = await setup()
      const bad = new Callplane({ ...plane.options, key: `${plane.options.key.slice(0, -1)}!` })
      await expect(bad.client('greeter')['hello']?.()).rejects.toMatchObject({ code: 'unauthorized' })
      const service = bad.service('greeter', { functions: { hello: () => 1 } })
      await expect(service.start()).rejects.toMatchObject({ code: 'unauthorized' })
      await bad.close()
      const none = new Callplane({ url: plane.options.url, fetch: plane.options.fetch })
      await expect(none.client('greeter')['hello']?.()).rejects.toMatchObject({ code: 'no_key' })
      await none.close()
      const unknown = connect(plane).call('01a1ff7d-677e-76ed-826b-4d004ed1c8f7')
      await expect(unknown.result()).rejects.toMatchObject({ code: 'not_found' })
      await expect(unknown.status()).rejects.toMatchObject({ code: 'not_found' })
    })
  })

  describe('define', () => {
    test('validates the arguments at the runner, and hands the function what the schemas make of them', async () => {
      const connected = connect(await setup())
      let runs = 0
      const item = z.object({ sku: z.string(), qty: z.number().int().min(1).default(1) })
      const shop = connected.service('shop', {
        functions: {
          order: define({ input: [z.string(), z.object({ items: z.array(item) })] }, (customer, { items }) => {
            runs++
            return `${customer}: ${items.map(({ sku, qty }) => `${qty} ${sku}`).join(', ')}`
          }),
        },
      })
      await shop.start()
      const client = connected.client<typeof shop>('shop')
      expect(await client.order('Ada', { items: [{ sku: 'tea' }] })).toBe('Ada: 1 tea')
      const bad = client.order('Ada', { items: [{ sku: 'tea' }, { sku: 'mug', qty: 0 }] })
      await expect(bad).rejects.toMatchObject({
        code: 'invalid_arguments',
        message: expect.stringContaining('args[1].items[1].qty'),
      })
      expect(await bad.catch((error: unknown) => error instanceof CallplaneError)).toBe(true)
      expect(runs).toBe(1)
    })

    test('retries what its policy covers, and no error that says not to', async () => {
      const connected = connect(await setup())
      const runs = { flaky: 0, final: 0, picky: 0, plain: 0 }
      const retry = { attempts: 3, backoff: { initialMs: 0 } }
      const jobs = connected.service('jobs', {
        functions: {
          flaky: define({ retry }, () => {
            if (++runs.flaky < 3) throw new Error('not yet')
            return currentCall().attempt
          }),
          final: define({ retry }, () => {
            runs.final++
            throw new NonRetryableError('never')
          }),
          picky: define({ retry: { ...retry, on: ['E_BUSY'] } }, () => {
            throw Object.assign(new Error(String(++runs.picky)), { code: runs.picky < 2 ? 'E_BUSY' : 'E_OTHER' })
          }),
          plain: () => {
            runs.plain++
            throw new Error('once')
          },
        },
      })
      await jobs.start()
      const client = connected.client<typeof jobs>('jobs')
      expect(await client.flaky()).toBe(3)
      await expect(client.final()).rejects.toMatchObject({ name: 'NonRetryableError', message: 'never' })
      await expect(client.picky()).rejects.toThrow('2')
      await expect(client.plain()).rejects.toThrow('once')
      expect(runs).toEqual({ flaky: 3, final: 1, picky: 2, plain: 1 })
    })
  })

  describe('services', () => {
    test('two in one process may have functions of one name', async () => {
      const connected = connect(await setup())
      const one = connected.service('one', { functions: { name: () => 'one' } })
      const two = connected.service('two', { functions: { name: () => 'two' } })
      await Promise.all([one.start(), two.start()])
      expect(await connected.client<typeof one>('one').name()).toBe('one')
      expect(await connected.client<typeof two>('two').name()).toBe('two')
      await one.stop()
      expect(await connected.client<typeof two>('two').name()).toBe('two')
    })

    test('several runners of one share its calls, and every call runs once', async () => {
      const plane = await setup()
      const seen: number[][] = [[], [], []]
      await Promise.all(
        seen.map((mine) =>
          connect(plane)
            .service('shared', { functions: { take: (n: number) => void mine.push(n) }, slots: 5 })
            .start(),
        ),
      )
      const client = connect(plane).client('shared')
      await Promise.all(Array.from({ length: 60 }, (_, n) => client['take']?.(n)))
      expect(seen.flat().toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n))
      expect(seen.filter((mine) => mine.length > 0).length).toBeGreaterThan(1)
    })

    test('never run more than their slots at once, also when the number changes while they run', async () => {
      const connected = connect(await setup())
      let running = 0
      let most = 0
      const gates: (() => void)[] = []
      const busy = connected.service('busy', {
        functions: {
          work: async () => {
            most = Math.max(most, ++running)
            await new Promise<void>((resolve) => gates.push(resolve))
            running--
          },
        },
        slots: 3,
      })
      await busy.start()
      const client = connected.client<typeof busy>('busy')
      const all = Promise.all(Array.from({ length: 20 }, () => client.work()))
      await expect.poll(() => running).toBe(3)
      await realTime(50)
      expect(most).toBe(3)
      busy.slots = 6
      await expect.poll(() => running).toBe(6)
      busy.slots = 1
      most = 0
      const open = setInterval(() => gates.shift()?.(), 2)
      await all
      clearInterval(open)
      // Those that ran when the number fell were let finish; no other began beside one.
      expect(most).toBeLessThanOrEqual(1)
    })

    test('stopping lets what runs finish and delivers it', async () => {
      const plane = await setup()
      const connected = connect(plane)
      const started = Promise.withResolvers<void>()
      const finish = Promise.withResolvers<string>()
      const slow = connected.service('slow', {
        functions: {
          wait: () => {
            started.resolve()
            return finish.promise
          },
        },
      })
      await slow.start()
      const result = connect(plane).client<typeof slow>('slow').wait()
      await started.promise
      const stopped = slow.stop()
      finish.resolve('delivered')
      await stopped
      expect(await result).toBe('delivered')
      // And it starts again.
      await slow.start()
      expect(await connected.client<typeof slow>('slow').wait()).toBe('delivered')
    })

    test('report progress, and calls made inside a function name their parent', async () => {
      const plane = await setup()
      const { connected, client } = await serving(plane)
      const reached = Promise.withResolvers<void>()
      const go = Promise.withResolvers<void>()
      const parent = connected.service('parent', {
        functions: {
          outer: async () => {
            currentCall().progress({ done: 1, of: 2 })
            await currentCall().heartbeat()
            reached.resolve()
            await go.promise
            return [currentCall().id, await client.who()]
          },
        },
      })
      await parent.start()
      const call = await connected.client<typeof parent>('parent').outer.start()
      await reached.promise
      expect(await call.status()).toMatchObject({ state: 'running', progress: { done: 1, of: 2 } })
      go.resolve()
      const [outer, inner] = (await call.result()) as [string, string]
      expect(outer).toBe(call.id)
      const headers = { authorization: `Bearer ${plane.options.key}`, accept: 'application/json' }
      const response = await plane.options.fetch(`${plane.options.url}/v1/calls/${inner}`, { headers })
      expect(((await response.json()) as WireStatus).parent).toBe(outer)
    })
  })

  describe('clients', () => {
    test('can be returned from an async function, logged and serialised without a call', async () => {
      const plane = await setup()
      const { greeter } = await serving(plane)
      let requests = 0
      const connected = new Callplane({
        ...plane.options,
        fetch: (...args) => {
          requests++
          return plane.options.fetch(...args)
        },
      })
      onTestFinished(() => connected.close())
      const client = connected.client<typeof greeter>('greeter')
      const returned = await (async () => client)()
      expect(returned).toBe(client)
      expect(JSON.stringify({ returned })).toBe('{"returned":{}}')
      expect(String(Object.keys(client))).toBe('')
      expect((client as { then?: unknown }).then).toBeUndefined()
      expect(await returned.hello('Ada')).toBe('hello Ada')
      expect(requests).toBe(1)
    })

    test('that are closed reject, and leave nothing behind', async () => {
      const plane = await setup()
      const asked = Promise.withResolvers<void>()
      const connected = new Callplane({
        ...plane.options,
        fetch: (...args) => {
          asked.resolve()
          return plane.options.fetch(...args)
        },
      })
      const client = connected.client('nobody')
      const waiting = client['anything']?.()
      const rejected = expect(waiting).rejects.toMatchObject({ code: 'closed' })
      await asked.promise
      await connected.close()
      await rejected
      await expect(client['anything']?.()).rejects.toMatchObject({ code: 'closed' })
      await connected.close()
    })
  })

  describe('those who operate a plane', () => {
    test('see what failed, and run it anew: a runner that waits takes it', async () => {
      const { client, connected } = await serving(await setup())
      const failed = await client.fail.batch([['a'], ['b'], ['c']])
      await Promise.allSettled(failed.map((call) => (call instanceof CallplaneError ? null : call.result())))
      const { calls } = admin(connected)
      const listed: string[] = []
      for await (const { id, failure } of calls.list({ state: 'failed' })) listed.push(`${id} ${failure}`)
      const ids = failed.map((call) => (call instanceof CallplaneError ? call.code : call.id))
      expect(new Set(listed)).toEqual(new Set(ids.map((id) => `${id} threw`)))
      expect(await calls.redrive({ service: 'greeter' })).toEqual({ redriven: 3, repeated: 0, refused: [] })
      const [first] = await calls.redrive(ids.slice(0, 1))
      const heir = first !== undefined && 'redrivenAs' in first ? first.redrivenAs : ''
      await expect(connected.call(heir).result()).rejects.toEqual(new TypeError('no'))
      expect(await calls.get(heir)).toMatchObject({ redrivenFrom: ids[0], attempts: [{ attempt: 1, fence: 2 }] })
    })
  })
}
