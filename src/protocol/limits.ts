// Every limit of the wire, each with the attack that it bounds and why the number is safe.

const KIB = 1024
const MIB = 1024 * KIB

/** One argument list, result, error or progress value, encoded. Bounds memory per job; larger data belongs in a store. */
export const MAX_PAYLOAD_BYTES: number = 1 * MIB

/** Payload bytes handed out by one claim: an isolate has 128 MB for all its requests, and a claim holds each byte about thrice. */
export const MAX_CLAIM_BYTES: number = 4 * MIB

/** One request body, counted while it streams in. Room for a batch of four full payloads and its headers. */
export const MAX_BODY_BYTES: number = 5 * MIB

/** Calls, reports or heartbeats in one request. Bounds the parameters of one statement and the time that it holds locks. */
export const MAX_BATCH: number = 1_000

/** Calls in one page of a list. Bounds the answer; whoever wants more follows the cursor. */
export const MAX_LIST: number = 200

/** Calls that one request runs anew. Each copies its arguments inside the database, so that fewer than a batch are enough. */
export const MAX_REDRIVE: number = 500

/** Services of one runner process, and functions of one service. Bounds the claim's filter and the rows of a namespace. */
export const MAX_SERVICES_PER_RUNNER: number = 100
export const MAX_FUNCTIONS_PER_SERVICE: number = 2_000

/** Nesting of a msgpack value: deeper values overflow the stacks of recursive consumers (2 MB of 0x91 is 2 M deep). */
export const MAX_DEPTH: number = 64

/** Values in one msgpack document: each costs an object in memory, and one byte on the wire can claim one. */
export const MAX_NODES: number = 200_000

/** A poll hangs at most this long: a runtime update gives requests in flight 30 s, middle boxes often 60. */
export const MAX_WAIT_MS: number = 25_000

/** Jobs that one claim may ask for. */
export const MAX_CLAIM: number = 1_000

/** A message or name inside a wire error, so that a hostile value cannot fill logs. */
export const MAX_MESSAGE_CHARS: number = 2_000

/** Pieces of a live query: each is a connection to who holds it, and rows that its owner keeps. */
export const MAX_SHARDS: number = 64

/** Steps and nesting of a plan. Each step holds state at every peer, and the depth bounds the recursion over it. */
export const MAX_PLAN_STEPS: number = 64
export const MAX_PLAN_DEPTH: number = 32

/** Columns of one step's rows: each row that a query holds pays for all of them. */
export const MAX_PLAN_COLUMNS: number = 64

/** Constants of a plan, and the characters of one: an `in` of all of them still is one comparison a row and value. */
export const MAX_PLAN_LITERALS: number = 1_000
export const MAX_LITERAL_CHARS: number = 1_000

/** Rows of an ordered view. It is walked whenever one of its rows changes, and sent whole to each client. */
export const MAX_TOP_ROWS: number = 1_000

/** A sliding window: longer than any job is kept. */
export const MAX_WINDOW_MS: number = 366 * 24 * 3_600_000

/** How far ahead rows of one's own relation can be given: every peer keeps them until then. */
export const MAX_AHEAD_MS: number = 366 * 24 * 3_600_000

/** A frame of live queries, over either transport, and the requests in it. Room for a transaction of 1,000 rows. */
export const MAX_LIVE_FRAME_BYTES: number = 1 * MIB
export const MAX_LIVE_REQUESTS: number = 1_000
