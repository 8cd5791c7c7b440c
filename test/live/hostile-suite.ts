// Whatever a client sends: it is answered with a code, the peer goes on, and the others do not notice.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { enqueueJobs } from '../../src/jobs/enqueue.ts'
import { from } from '../../src/protocol/from.ts'
import { aCall } from '../support/wire.ts'
import type { WireClient } from './client.ts'
import type { Stage } from './peer-suite.ts'

const byState = from('jobs').groupBy('state').count().plan

async function watching(stage: Stage): Promise<WireClient> {
  const client = await stage.connect()
  await client.askAll([
    ['Register', { name: 'states', plan: byState }],
    ['Interest', { name: 'states' }],
  ])
  return client
}

async function hears(stage: Stage, client: WireClient): Promise<void> {
  const before = client.of('states').length
  await enqueueJobs(stage.sql, stage.namespace, [await aCall()], { retentionMs: 86_400_000 })
  stage.poke()
  await expect.poll(() => client.of('states').length).toBeGreaterThan(before)
}

const tag = fc.constantFrom(
  'Register',
  'Unregister',
  'Interest',
  'Uninterest',
  'CreateAttribute',
  'Transact',
  'CloseInput',
  'Status',
)
const request = fc.record(
  {
    // None that the client uses for its own.
    id: fc.oneof(fc.integer({ min: 1_000 }), fc.string(), fc.constantFrom(null, true, 1.5, [], {})),
    body: fc.jsonValue(),
    tag,
    // Any client may end a query by its name: not the one that the other watches.
    name: fc.constantFrom('other', 'x'),
  },
  { requiredKeys: ['tag', 'id'] },
)
const frames = fc.oneof(
  fc.string(),
  fc.json(),
  fc.array(request).map((all) =>
    JSON.stringify(
      all.map(({ id, tag: name, body, name: of }) => ({
        id,
        [name]: of === undefined ? body : { name: of, plan: body },
      })),
    ),
  ),
)

/** `runs`: of the random frames. */
export function hostileSuite(newStage: () => Promise<Stage>, { runs }: { runs: number }): void {
  test.each([
    ['nothing', '', null, 'invalid_json'],
    ['no JSON', '[{', null, 'invalid_json'],
    ['no array', '{"id":1,"Status":{}}', null, 'invalid_json'],
    ['a request that is none', '[7]', null, 'invalid_request'],
    ['no id', '[{"Status":{}}]', null, 'invalid_request'],
    ['an id that is none', '[{"id":{},"Status":{}}]', null, 'invalid_request'],
    ['no tag', '[{"id":9}]', 9, 'invalid_request'],
    ['an unknown tag', '[{"id":9,"Setup":{}}]', 9, 'invalid_request'],
    ['a tag of the prototype', '[{"id":9,"toString":{}}]', 9, 'invalid_request'],
    ['two tags', '[{"id":9,"Status":{},"Unregister":{"name":"a"}}]', 9, 'invalid_request'],
    ['a body that is none', '[{"id":9,"Interest":null}]', 9, 'invalid_request'],
    ['a field too many', '[{"id":9,"Interest":{"name":"states","tenant":1}}]', 9, 'invalid_request'],
    ['a name that is none', '[{"id":9,"Interest":{"name":"\\u0000"}}]', 9, 'invalid_request'],
    ['a time of the past', '[{"id":9,"Interest":{"name":"states","from":-1}}]', 9, 'invalid_request'],
    ['a plan that is none', '[{"id":9,"Register":{"name":"x","plan":[]}}]', 9, 'invalid_plan'],
    ['a second key', '[{"id":9,"Auth":{"key":"live_other"}}]', 9, 'invalid_request'],
    ['rows of no relation', '[{"id":9,"Transact":{"changes":[{"relation":"jobs","row":{}}]}}]', 9, 'not_found'],
    ['the end of what never began', '[{"id":9,"CloseInput":{"name":"x"}}]', 9, 'not_found'],
    ['a relation without columns', '[{"id":9,"CreateAttribute":{"name":"x","columns":[]}}]', 9, 'invalid_request'],
    [
      'a relation of the plane',
      '[{"id":9,"CreateAttribute":{"name":"jobs","columns":[{"name":"a","type":"int"}]}}]',
      9,
      'conflict',
    ],
    ['an interest that is none', '[{"id":9,"Uninterest":{"name":"other"}}]', 9, 'not_found'],
  ])('%s', async (_, frame, id, code) => {
    const stage = await newStage()
    const other = await watching(stage)
    const client = await stage.connect()
    const refused = client.next((result) => 'Error' in result)
    client.raw(frame)
    expect(await refused).toEqual({ Error: [id, code, expect.any(String)] })
    expect(await client.ask('Status')).toHaveProperty('Status')
    await hears(stage, other)
  })

  test('any frames at all', async () => {
    const stage = await newStage()
    const other = await watching(stage)
    await fc.assert(
      fc.asyncProperty(fc.array(frames, { maxLength: 20 }), async (all) => {
        const client = await stage.connect()
        for (const frame of all) client.raw(frame)
        // What came before it was taken in: this is answered all the same.
        expect(await client.ask('Status')).toHaveProperty('Status')
        client.close()
      }),
      { numRuns: runs },
    )
    await hears(stage, other)
    expect(stage.logged).toEqual([])
  }, 60_000)

  test('what comes before the key is not read, and ends the connection', async () => {
    const stage = await newStage()
    const other = await watching(stage)
    const client = await stage.connect({ key: 'cp_nobody' })
    client.raw('[{"id":2,"Interest":{"name":"states"}}]')
    await expect.poll(() => client.isClosed).toBe(true)
    expect(client.received.every((result) => 'Error' in result)).toBe(true)
    await hears(stage, other)
  })

  test.each(['', '[', '[]', '[7]', '[{"id":1}]', '[{"id":1,"Status":{}}]'])(
    'who begins with %j instead of a key keeps no connection',
    async (frame) => {
      const stage = await newStage()
      const client = await stage.connect({ key: null })
      client.raw(frame)
      await expect.poll(() => client.isClosed).toBe(true)
      expect(client.received.at(-1)).toEqual({ Error: [null, 'unauthorized', expect.any(String)] })
    },
  )

  test('a flood of commands of one client does not keep another from hearing', async () => {
    const stage = await newStage()
    const [flooding, other] = [await stage.connect(), await watching(stage)]
    await flooding.ask('CreateAttribute', { name: 'noise', columns: [{ name: 'n', type: 'int' }] })
    const change = ['Transact', { changes: [{ relation: 'noise', row: { n: 1 } }] }] as const
    const frame = Array.from({ length: 1_000 }, () => change)
    const answered = new AbortController()
    const all = Promise.all(Array.from({ length: Math.ceil(runs / 40) }, () => flooding.askAll(frame)))
    void all.finally(() => answered.abort())
    await hears(stage, other)
    expect(answered.signal.aborted).toBe(false)
    for (const answer of (await all).flat()) expect(answer).toHaveProperty('Ok')
  }, 60_000)
}
