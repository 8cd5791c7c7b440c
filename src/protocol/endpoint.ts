// What an endpoint is: where it is, who may use it, what it reads and what it answers.
import type { Shape } from './shape.ts'

/** What a key may do: make calls, serve functions, watch, administer its namespace. */
export type Scope = 'call' | 'serve' | 'watch' | 'admin'
export const SCOPES = ['call', 'serve', 'watch', 'admin'] as const satisfies readonly Scope[]

export interface Endpoint<Request, Answer> {
  method: 'GET' | 'POST'
  /** Path with `{parameters}`. */
  path: string
  /** The scope that the key must have; `null` where no key is asked for. */
  scope: Scope | null
  summary: string
  /** The body that it reads; `null` where there is none. */
  request: Shape<Request> | null
  /** How the body is written. Default msgpack. */
  requestForm?: 'msgpack' | 'json'
  /** Parameters behind the question mark: an object of them. A list stands there with commas. */
  query?: Shape<object>
  answer: Shape<Answer>
  /** `either`: msgpack or JSON by Accept. `frames`: a stream of answers, each preceded by its length; see frames.ts. */
  form: 'msgpack' | 'json' | 'either' | 'frames' | 'text'
  /** Status of the answer. Default 200. */
  status?: 200 | 201
  /** What it answers with 202 when the time was over first. */
  unfinished?: Shape<unknown>
}
