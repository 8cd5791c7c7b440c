// The wire of live queries: JSON frames, the same over WebSocket and over TCP, where each is a line.
//
//   client                                        peer
//     │── [{ id, Auth: { key } }] ─────────────────▶│
//     │◀───────────────────────────── { Ok: id } ───│
//     │── [{ id, Register: { name, plan } }] ──────▶│ ──▶ log ──▶ every peer
//     │◀───────────────────────────── { Ok: id } ───│
//     │── [{ id, Interest: { name } }] ────────────▶│
//     │◀────────────────────────────── { Ok: id } ──│
//     │◀────────────── { Snapshot: [name, rows, 7] }│
//     │◀─── { QueryDiff: [name, [[row, 1], …], 9] } │
import { CallplaneError, type ErrorCode } from './errors.ts'
import { MAX_LIVE_REQUESTS, MAX_SHARDS } from './limits.ts'
import { COLUMN_TYPES } from './relations.ts'
import { array, integer, object, oneOf, optional, string, type Shape, type TypeOf } from './shape.ts'

/** A request is answered under the id that its client gave it. */
export type RequestId = string | number

/** A row: column → value. An int64 is its digits in a string; a time, milliseconds since 1970. */
export type WireRow = Record<string, string | number | boolean | null>

/** How often a row came (above 0) or went. */
export type WireChange = readonly [row: WireRow, diff: number]

/** What a peer sends. A tick is the log's time: it only grows, and all of it has been told. */
export type LiveResult =
  | { Ok: RequestId }
  /** To the asking request alone; a null id where the frame did not tell any. */
  | { Error: readonly [id: RequestId | null, code: ErrorCode, message: string] }
  /** The whole result, each row as often as it is there; what was told before is void. */
  | { Snapshot: readonly [name: string, rows: readonly WireRow[], tick: number] }
  /**
   * What changed since the frame before, each row once. `after`, to another peer alone: it is a sum of what changed after that
   * tick.
   */
  | { QueryDiff: readonly [name: string, changes: readonly WireChange[], tick: number, after?: number] }
  /** Nothing changed up to this tick. */
  | { Progress: readonly [name: string, tick: number] }
  /** A snapshot follows, or the query has ended; why. */
  | { Reset: readonly [name: string, reason: string] }
  | { Status: readonly [id: RequestId, status: PeerStatus] }

/** How a peer does, for one namespace. */
export interface PeerStatus {
  peer: string
  tick: number
  /** Ticks that the log was ahead of it, a few seconds ago. */
  lag: number
  clients: number
  slowClients: number
  queries: QueryStatus[]
}

/** How a query does at a peer, or a piece of one. */
export interface QueryStatus {
  name: string
  clients: number
  /** In all of its operators. */
  rows: number
  /** About how much memory they take. */
  bytes: number
  /** Why it was stopped. */
  stopped: string | null
}

/** What a name is: of a query, or of a relation of the client's own. */
const nameOf: Shape<string> = {
  parse(value, path) {
    if (typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$/.test(value)) return value
    throw new CallplaneError('invalid_request', `${path} must match [A-Za-z_][A-Za-z0-9_.:-]{0,127}`)
  },
  schema: { type: 'string', pattern: '[A-Za-z_][A-Za-z0-9_.:-]{0,127}' },
}

/** What is parsed where more is known: a plan, a row. */
const anyJson: Shape<unknown> = { parse: (value) => value, schema: {} }

const MAX_COLUMNS = 64
const MAX_CHANGES = 1_000

const attribute = object({
  name: nameOf,
  columns: array(object({ name: nameOf, type: oneOf(COLUMN_TYPES) }), { min: 1, max: MAX_COLUMNS }),
  /**
   * `raw` (default): rows are counted. `distinct`: a row is there or not. `last_write_wins`: of the rows with equal `key`
   * columns the last one is there.
   */
  semantics: optional(oneOf(['raw', 'distinct', 'last_write_wins'])),
  key: optional(array(nameOf, { min: 1, max: MAX_COLUMNS })),
})
export type Attribute = TypeOf<typeof attribute>

const REQUESTS = {
  /** The first request of a connection: of a client with its key, of another peer with a ticket. */
  Auth: object({ key: optional(string({ max: 200 })), peer: optional(string({ max: 300 })) }),
  /**
   * Gives a plan a name. The same again is fine; another plan under the name, or another number of shards, is a `conflict`. With
   * `shards`, its state is divided among so many pieces, which the peers share.
   */
  Register: object({ name: nameOf, plan: anyJson, shards: optional(integer({ min: 1, max: MAX_SHARDS })) }),
  Unregister: object({ name: nameOf }),
  /**
   * Asks for the result of a query and its changes. With `granularity`, changes of so many ticks come as one. With `from`, a
   * tick that the client has, from whichever peer, only what came since, if the peer or the log still knows it. `piece` and
   * `tick` are for peers among themselves: one of the query's pieces, once its holder has come to this tick.
   */
  Interest: object({
    name: nameOf,
    granularity: optional(integer({ min: 1, max: 1_000_000 })),
    from: optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
    piece: optional(integer({ min: 0, max: MAX_SHARDS - 1 })),
    tick: optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  }),
  Uninterest: object({ name: nameOf }),
  /** Makes a relation of the namespace's own, which plans can read. */
  CreateAttribute: attribute,
  /**
   * Rows that come (above 0) or go, in one tick or not at all. With `at`, milliseconds since 1970, once the log's time gets
   * there, unless they cannot come any more; a time that has passed is now.
   */
  Transact: object({
    changes: array(
      object({
        relation: nameOf,
        row: anyJson,
        diff: optional(integer({ min: -1_000_000, max: 1_000_000 })),
      }),
      { min: 1, max: MAX_CHANGES },
    ),
    at: optional(integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
  }),
  /** Ends a relation: it keeps its rows for the queries that read it, and takes no more. */
  CloseInput: object({ name: nameOf }),
  Status: object({}),
} satisfies Record<string, Shape<unknown>>

type Requests = { [T in keyof typeof REQUESTS]: TypeOf<(typeof REQUESTS)[T]> }
export type RequestTag = keyof Requests
/** One request: its tag and what that asks for. */
export type LiveRequest = { [T in RequestTag]: { id: RequestId; tag: T; body: Requests[T] } }[RequestTag]

/** What became of one element of a frame. */
export type ParsedRequest = LiveRequest | { id: RequestId | null; error: CallplaneError }

/** The requests of a frame, in their order. A frame that cannot be read at all is one error without an id. */
export function parseLiveFrame(text: string): ParsedRequest[] {
  let frame: unknown
  try {
    frame = JSON.parse(text)
  } catch {
    return [refused(null, 'invalid_json', 'a frame is a JSON array of requests, and this one is no JSON')]
  }
  if (!Array.isArray(frame)) return [refused(null, 'invalid_json', 'a frame is a JSON array of requests')]
  if (frame.length > MAX_LIVE_REQUESTS) {
    return [refused(null, 'invalid_request', `a frame holds at most ${MAX_LIVE_REQUESTS} requests`)]
  }
  return frame.map(parseRequest)
}

function parseRequest(value: unknown): ParsedRequest {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return refused(null, 'invalid_request', 'a request is an object: { id, Interest: { name } }, for one')
  }
  const { id, ...rest } = value as { id?: unknown } // an object, and no array
  if (!isRequestId(id)) {
    return refused(
      null,
      'invalid_request',
      'a request has an id: a string of at most 100 characters, or a whole number',
    )
  }
  const [tag, ...others] = Object.keys(rest)
  const known = Object.keys(REQUESTS).join(', ')
  if (tag === undefined || others.length > 0 || !isTag(tag)) {
    return refused(id, 'invalid_request', `a request has one tag of these: ${known}`)
  }
  try {
    return parsed(id, tag, (rest as Record<string, unknown>)[tag]) // the key was just listed
  } catch (error) {
    if (error instanceof CallplaneError) return { id, error }
    throw error
  }
}

function parsed(id: RequestId, tag: RequestTag, body: unknown): LiveRequest {
  return { id, tag, body: REQUESTS[tag].parse(body, tag) } as LiveRequest // the shape of the tag parsed it
}

function isTag(tag: string): tag is RequestTag {
  return Object.hasOwn(REQUESTS, tag)
}

function isRequestId(id: unknown): id is RequestId {
  return typeof id === 'string' ? id.length <= 100 : Number.isSafeInteger(id)
}

function refused(id: RequestId | null, code: ErrorCode, message: string): ParsedRequest {
  return { id, error: new CallplaneError(code, message) }
}
