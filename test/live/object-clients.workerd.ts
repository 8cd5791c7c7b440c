// Clients at the peers of workerd, and what may happen to the objects beneath them.
import { env } from 'cloudflare:workers'
import { evictDurableObject, runInDurableObject } from 'cloudflare:test'
import { expect } from 'vitest'
import { untilAttached } from './attached.workerd.ts'
import type { WireClient } from './client.ts'
import { byState } from './peer-suite.ts'
import { open, type ObjectStage } from './stage.workerd.ts'

/** One of a client's address, and one of another's: each leads to one of the peers. */
export const [HERE, THERE] = [{}, { 'cf-connecting-ip': '1' }] as const
export const PEERS = ['peer-0', 'peer-1'].map((name) => env.PEER.getByName(name))

/** By namespace. */
const clients = new Map<string, WireClient[]>()

/** By then, everything that the clients were told is attached. */
export const attached = (stage: ObjectStage) => untilAttached(stage, PEERS, clients.get(stage.namespace) ?? [])

export async function connect(
  stage: ObjectStage,
  headers: Record<string, string> = HERE,
  options?: { isPacked: boolean },
): Promise<WireClient> {
  const client = await open(headers, options)
  await client.ask('Auth', { key: stage.key })
  clients.set(stage.namespace, [...(clients.get(stage.namespace) ?? []), client])
  return client
}

export async function watching(stage: ObjectStage, headers: Record<string, string> = HERE): Promise<WireClient> {
  // Else the sequencer looks for those who do not know yet that somebody watches.
  await minutePasses(stage)
  const client = await connect(stage, headers)
  await client.ask('Register', { name: 'states', plan: byState })
  await client.ask('Interest', { name: 'states' })
  await expect.poll(() => client.of('states')).toHaveLength(1)
  return client
}

/** The last arms run out. */
export async function minutePasses({ namespace }: ObjectStage): Promise<void> {
  const bell = env.BELL.getByName(namespace)
  await bell.isQuietSince(0)
  await runInDurableObject(bell, (_, { storage }) => storage.put('armedUntilMs', Date.now() - 10))
  await evictDurableObject(bell)
}

export async function evict(stage: ObjectStage): Promise<void> {
  await attached(stage)
  const { namespace } = stage
  // Who has not been asked for anything does not run.
  const objects = [...PEERS, env.SEQUENCER.getByName(namespace)]
  await Promise.all(objects.map((object) => evictDurableObject(object).catch(() => {})))
}

/** How many statements have reached the database. */
export const statements = async () => Number(await (await fetch(env.STATEMENTS_URL)).text())

/** Those that came after so many. */
export async function statementsSince(count: number): Promise<string[]> {
  return (await (await fetch(`${env.STATEMENTS_URL}?since=${count}`)).json()) as string[] // as the set-up answers
}
