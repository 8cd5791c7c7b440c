// A client is an object whose properties are remote functions, and nothing that JavaScript does to objects makes a call.
import { inspect } from 'node:util'
import { expect, test, vi } from 'vitest'
import { Callplane } from '../../src/sdk/index.ts'
import { CREATE, FakePlane, setup } from './fake-plane.ts'

test('a client can be awaited, logged, serialised, compared and spread without a call', async () => {
  const { fake, plane } = setup()
  const client = plane.client('mailer')
  const returned = await (async () => client)()
  expect(returned).toBe(client)
  expect(await Promise.resolve(client)).toBe(client)
  expect(inspect(client)).toBe('[Object: null prototype] {}')
  expect(JSON.stringify({ client })).toBe('{"client":{}}')
  expect({ ...client }).toEqual({})
  expect(Object.keys(client)).toEqual([])
  expect(fake.asked).toEqual([])
})

test('then, catch, finally, toJSON and symbols are no functions of a client, and all other names are', () => {
  const { plane } = setup()
  const client: object = plane.client('mailer')
  for (const name of ['then', 'catch', 'finally', 'toJSON', Symbol.iterator, Symbol.toPrimitive]) {
    expect(Reflect.get(client, name)).toBeUndefined()
    expect(Reflect.has(client, name)).toBe(false)
  }
  expect('greet' in client).toBe(true)
  expect(typeof Reflect.get(client, 'greet')).toBe('function')
})

test('a function of a client is made once', () => {
  const { plane } = setup()
  const client = plane.client('mailer')
  expect(client['greet']).toBe(client['greet'])
  expect(client['greet']).not.toBe(client['send'])
})

test('a client cannot be changed', () => {
  const { plane } = setup()
  const client: Record<string, unknown> = plane.client('mailer')
  expect(() => (client['greet'] = 1)).toThrow('a client cannot be changed')
  expect(() => delete client['greet']).toThrow('a client cannot be changed')
  expect(() => Object.defineProperty(client, 'greet', { value: 1 })).toThrow('a client cannot be changed')
})

test('a name that no function can have rejects and asks nobody', async () => {
  const { fake, plane } = setup()
  await expect(plane.client('mailer')['two words']?.()).rejects.toMatchObject({ code: 'invalid_name' })
  expect(() => plane.client('two words')).toThrow('cannot name a service')
  expect(fake.asked).toEqual([])
})

test('a handle is made from an id alone, and refuses what is none', async () => {
  const { fake, plane } = setup()
  const id = '01a1ff7d-677e-76ed-826b-4d004ed1c8f7'
  expect(plane.client('mailer')['greet']?.handle(id).id).toBe(id)
  expect(plane.call(id.toUpperCase()).id).toBe(id)
  expect(() => plane.call('mailer')).toThrow('the id of a call must be a UUID, not "mailer"')
  expect(fake.asked).toEqual([])
})

test('a key is asked for with the first call, not before', async () => {
  vi.stubEnv('CALLPLANE_KEY', '')
  const fake = new FakePlane()
  const plane = new Callplane({ fetch: fake.fetch })
  const service = plane.service('mailer', { functions: { greet: () => 'hi' } })
  const greet = plane.client<typeof service>('mailer').greet
  await expect(greet()).rejects.toMatchObject({ code: 'no_key' })
  await expect(greet.start()).rejects.toMatchObject({ code: 'no_key' })
  await expect(greet.batch([[]])).rejects.toMatchObject({ code: 'no_key' })
  await expect(service.start()).rejects.toMatchObject({ code: 'no_key' })
  expect(fake.asked).toEqual([])
  vi.stubEnv('CALLPLANE_KEY', ' cp_from_the_environment\n')
  void greet()
  const create = await fake.next(CREATE)
  expect(new Headers(create.init.headers).get('authorization')).toBe('Bearer cp_from_the_environment')
  vi.unstubAllEnvs()
  create.refuse(401, 'unauthorized')
  await plane.close()
})

test('the address comes from the option, the environment, or is the one of npm start', async () => {
  const urls: string[] = []
  const fetch = (url: string) => {
    urls.push(url)
    return new Response(null, { status: 404 })
  }
  const call = async (url?: string) => {
    const plane = new Callplane({ url, key: 'k', fetch })
    const client = plane.client('mailer')
    await client['greet']?.().catch(() => {})
    await plane.close()
  }
  await call('https://plane.example.com/under/a/path/')
  await call()
  vi.stubEnv('CALLPLANE_URL', 'http://from.env:1234')
  await call()
  vi.unstubAllEnvs()
  expect(urls).toEqual([
    'https://plane.example.com/under/a/path/v1/calls',
    'http://127.0.0.1:8787/v1/calls',
    'http://from.env:1234/v1/calls',
  ])
})
