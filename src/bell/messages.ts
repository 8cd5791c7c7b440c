// What processes tell each other over a channel: rings, as few texts, each of which Postgres takes.
import type { Ring } from './bell.ts'

/** From whom, and what: whatever it says, a message arms the bells of all who hear it. */
export interface Message {
  from: string
  /** Of a process that has just begun to listen: who hears it has company. */
  isHello?: true
  /** Namespaces in which so much has happened that everybody looks. */
  look?: string[]
  due?: [namespace: string, service: string, jobs: number][]
  ended?: [namespace: string, id: string][]
}

/** Postgres takes 7,999 bytes, and names and ids are ASCII. */
const MAX_TEXT_CHARS = 7_000
/** More than the rest of a text takes, and what surrounds an entry in it. */
const FRAME_CHARS = 120
const ENTRY_CHARS = 16
/** A ring for more ends than this says "look", which is cheaper for all. */
const MAX_ENDED = 1_000

export function textOf(message: Message): string {
  return JSON.stringify(message)
}

/** The rings, which are all due now, as few texts. */
export function textsOf(from: string, rings: readonly Ring[]): string[] {
  const look: string[] = []
  const due: Message['due'] = []
  const ended: Message['ended'] = []
  for (const [namespace, of] of Map.groupBy(rings, (ring) => ring.namespace)) {
    const ids = of.flatMap((ring) => ring.ended ?? []).map(({ id }) => id)
    if (ids.length > MAX_ENDED) {
      look.push(namespace)
      continue
    }
    for (const id of ids) ended.push([namespace, id])
    const byService = Map.groupBy(
      of.flatMap((ring) => ring.due ?? []),
      ({ service }) => service,
    )
    for (const [service, all] of byService) due.push([namespace, service, all.reduce((sum, { jobs }) => sum + jobs, 0)])
  }
  return [
    ...inChunks(look).map((part) => textOf({ from, look: part })),
    ...inChunks(due).map((part) => textOf({ from, due: part })),
    ...inChunks(ended).map((part) => textOf({ from, ended: part })),
  ]
}

/** Cuts a list where a text would be full. */
function inChunks<Entry extends string | readonly (string | number)[]>(entries: readonly Entry[]): Entry[][] {
  const chunks: Entry[][] = []
  let room = 0
  for (const entry of entries) {
    const size = String(entry).length + ENTRY_CHARS
    const last = chunks.at(-1)
    if (last === undefined || size > room) {
      chunks.push([entry])
      room = MAX_TEXT_CHARS - FRAME_CHARS - size
    } else {
      last.push(entry)
      room -= size
    }
  }
  return chunks
}
