// The door of the SDK: everything that users import from 'callplane'.
export {
  avg,
  count,
  failureRate,
  max,
  median,
  min,
  p50,
  p95,
  p99,
  rate,
  sum,
  variance,
} from '../protocol/aggregation.ts'
export { and, is, isNull, not, or } from '../protocol/condition.ts'
export { CallplaneError, NonRetryableError, type ErrorCode } from '../protocol/errors.ts'
export { column, dividedBy, literal, minus, modulo, negate, plus, times, truncate } from '../protocol/expression.ts'
export { from, type Query, type RowOf } from '../protocol/from.ts'
export type { PeerStatus, QueryStatus } from '../protocol/live.ts'
export type { Plan } from '../protocol/plan.ts'
export type { JobState } from '../protocol/job.ts'
export type { RetryPolicy } from '../protocol/policy.ts'
export type { Call, CallStatus } from './call.ts'
export { currentCall, type CurrentCall } from './current-call.ts'
export { define, type DefineOptions } from './define.ts'
export type { AnyFunction, Functions } from './functions.ts'
export type {
  Live,
  LiveChange,
  LiveChanges,
  LiveQuery,
  LiveRelation,
  LiveRow,
  RegisterOptions,
  RelationOptions,
  WatchCallbacks,
  WatchOptions,
} from './live-types.ts'
export { Callplane, type CallplaneOptions } from './plane.ts'
export type { Service, ServiceOptions } from './service.ts'
export type { StandardSchema } from './standard-schema.ts'
export type { AnyService, CallOptions, Client, RemoteFunction } from './types.ts'
