// A process that serves a plane over a Postgres until it is killed: node live-plane.ts DATABASE_URL OPTIONS. It says where, and
// when it is asked, what its peer has made of a namespace's log and how it does.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startOnPostgres } from '../../src/node.ts'

/** As JSON. */
export interface LivePlaneOptions {
  /** Default: any free one. */
  port?: number
  /** Of the peer among the others. */
  peerLeaseMs?: number
}

/** What the process is asked: the state of these queries and of all relations; without names, how it does. */
export interface StateQuestion {
  namespace: string
  names: readonly string[]
}
export type Question = StateQuestion | { vitalsOf: string }

export interface Vitals {
  /** What its main thread holds, without what only waits to be collected. */
  heldBytes: number
  /** Of the whole process. */
  rssBytes: number
  /** Of its peer in the namespace; null where no client is. */
  tick: number | null
  lag: number | null
}

/** The same at every peer that has come as far: all of it in an order that says nothing of how it came about. */
export interface PeerState {
  tick: number
  /** Of each name that is registered: its plan, and what its operators hold where the query runs. */
  queries: Record<string, unknown>
  /** The rows of each relation of the clients' own. */
  relations: Record<string, unknown>
}

export type FromPlane = { url: string; peer: string } | { state: PeerState | null } | { vitals: Vitals }

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void // the flag makes it

const [databaseUrl = '', options = '{}'] = process.argv.slice(2)
const plane = await startOnPostgres(databaseUrl, {
  host: '127.0.0.1',
  port: 0,
  ...(JSON.parse(options) as LivePlaneOptions), // by who started it
  log: (event) => {
    if (event.level !== 'info') console.error(JSON.stringify(event))
  },
})
const tell = (message: FromPlane): void => void process.send?.(message)

process.on('message', (question: Question) => {
  if ('vitalsOf' in question) return tell({ vitals: vitalsOf(question.vitalsOf) })
  const { namespace, names } = question
  const state = plane.peer.stateOf(namespace)
  if (state === null) return tell({ state: null })
  const { tick, registry, flow } = state
  const queries = names.flatMap((name) => {
    const registered = registry.registered(name)
    if (registered === null) return []
    const { plan } = registered
    const query = flow.find(plan)
    return [[name, { plan, state: query === null ? null : inOrder(flow.dump(query)) }] as const]
  })
  const own = [...registry.relations.keys()].map((name) => [name, inOrder(registry.rowsOf(name))] as const)
  tell({ state: { tick, queries: Object.fromEntries(queries), relations: Object.fromEntries(own) } })
})
process.on('disconnect', () => process.exit())
tell({ url: plane.url, peer: plane.peer.id })

function vitalsOf(namespace: string): Vitals {
  collect()
  const { heapUsed, external, rss } = process.memoryUsage()
  const tick = plane.peer.stateOf(namespace)?.tick ?? null
  const status = plane.peer.status().find((one) => one.tick === tick)
  return { heldBytes: heapUsed + external, rssBytes: rss, tick, lag: status?.lag ?? null }
}

/** Lists in the order of their texts, so that it does not matter what came first. */
function inOrder(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (!Array.isArray(value)) {
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, inOrder(of)]))
  }
  return value
    .map((of) => [JSON.stringify(inOrder(of)), of] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([text]) => JSON.parse(text) as unknown)
}
