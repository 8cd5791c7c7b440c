// What processes tell each other over a channel: rings, as few texts, each of which Postgres takes, and invitations.
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
  /** Whose live queries are to be shared. */
  invited?: string
}

/** Postgres takes 7,999 bytes, and names and ids are ASCII. */
const MAX_TEXT_CHARS = 7_000
/** More than the rest of a text takes, and what surrounds an entry in it. */
const FRAME_CHARS = 120
const ENTRY_CHARS = 16
/** News of more ends, or of more services, says "look", which is cheaper for all. */
const MAX_ENDED = 1_000
const MAX_SERVICES = 1_000

export function textOf(message: Message): string {
  return JSON.stringify(message)
}

/** What is to be told of each namespace. However many rings it joins, it stays small. */
export type News = Map<string, { ended: string[]; due: Map<string, number> } | 'look'>

/** Joins a ring, all of which is due now, to what is to be told. */
export function addRing(news: News, { namespace, due = [], ended = [] }: Ring): void {
  const of = news.get(namespace) ?? { ended: [], due: new Map<string, number>() }
  if (of === 'look') return
  for (const { id } of ended) of.ended.push(id)
  for (const { service, jobs } of due) of.due.set(service, (of.due.get(service) ?? 0) + jobs)
  news.set(namespace, of.ended.length > MAX_ENDED || of.due.size > MAX_SERVICES ? 'look' : of)
}

/** Joins what is to be told since to what is to be told. */
export function addNews(news: News, since: News): void {
  for (const [namespace, of] of since) {
    if (of === 'look') {
      news.set(namespace, of)
      continue
    }
    const ended = of.ended.map((id) => ({ id, outcome: null }))
    addRing(news, { namespace, ended, due: Array.from(of.due, ([service, jobs]) => ({ service, jobs })) })
  }
}

/** As few texts. */
export function textsOf(from: string, news: News): string[] {
  const look: string[] = []
  const due: Message['due'] = []
  const ended: Message['ended'] = []
  for (const [namespace, of] of news) {
    if (of === 'look') {
      look.push(namespace)
      continue
    }
    for (const id of of.ended) ended.push([namespace, id])
    for (const [service, jobs] of of.due) due.push([namespace, service, jobs])
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
