// The timeline of a call, in lines: what happened, and how long after the call was made.
//
//   01a1ff8c-af5b-7bef-b708-91d77311faea  greeter.hello  failed: threw
//
//      2026-11-21 19:19:32.459  made
//    +   40 ms  ├─ attempt 1 of 2   runner 9e6e86b2-9a09-4f00-8996-21f4829ef3cf, fence 1
//    +  118 ms  │  threw after 78 ms: Error: no route
//    +   1.2 s  ├─ attempt 2 of 2   runner 9e6e86b2-9a09-4f00-8996-21f4829ef3cf, fence 2
//    +   1.3 s  │  threw after 80 ms: Error: no route
//    +   1.3 s  └─ failed
import type { CallAttempt, CallRecord } from '../sdk/admin.ts'
import { showDuration } from './duration.ts'
import { oneLine } from './printable.ts'

/** `nowMs` is for what still runs, by this machine's clock. */
export function timelineOf(call: CallRecord, nowMs: number = Date.now()): string[] {
  const at = (instant: Date) => `+ ${showDuration(instant.getTime() - call.createdAt.getTime())}`.padStart(13)
  const gap = ' '.repeat(13)
  const how = call.failure === undefined ? call.state : `${call.state}: ${call.failure}`
  return [
    `${call.id}  ${call.service}.${call.function}  ${how}`,
    '',
    `${gap}  ${call.createdAt.toISOString().replace('T', ' ').slice(0, -1)} UTC, made`,
    ...call.attempts.flatMap((attempt) => [
      `${at(attempt.startedAt)}  ├─ attempt ${attempt.attempt} of ${call.maxAttempts}, fence ${attempt.fence}, runner ${attempt.runner}`,
      attempt.endedAt === undefined
        ? `${gap}  │  runs for ${showDuration(nowMs - attempt.startedAt.getTime())}`
        : `${at(attempt.endedAt)}  │  ${endOf(attempt, attempt.endedAt)}`,
    ]),
    call.finishedAt === undefined
      ? `${gap}  └─ ${[call.state, call.reason].filter((one) => one !== undefined).join(': ')}`
      : `${at(call.finishedAt)}  └─ ${[call.state, call.reason && oneLine(call.reason)].filter(Boolean).join(': ')}`,
    ...(call.waitingFor === 'time' && call.runAt !== undefined
      ? [`${gap}     not before ${call.runAt.toISOString().replace('T', ' ').slice(0, -1)} UTC`]
      : []),
  ]
}

function endOf({ outcome = 'succeeded', startedAt, error, message }: CallAttempt, endedAt: Date): string {
  const why = error === undefined ? message : sentenceOf(error)
  const took = showDuration(endedAt.getTime() - startedAt.getTime())
  return `${outcome.replace('_', ' ')} after ${took}${why === undefined ? '' : `: ${oneLine(why)}`}`
}

function sentenceOf(error: unknown): string {
  if (error instanceof Error) return `${error.name}: ${error.message}`
  return typeof error === 'string' ? error : (JSON.stringify(error) ?? String(error))
}
