// Logs of the processes that serve: one JSON line an event, on stderr, with the time and nothing of users' data.
import type { LogEvent } from '../node.ts'

const MAX_FIELD_CHARS = 2_000

export function logLine(event: LogEvent): void {
  const time = new Date().toISOString()
  const line = JSON.stringify({ time, ...event }, (_, value: unknown) =>
    typeof value === 'string' && value.length > MAX_FIELD_CHARS ? `${value.slice(0, MAX_FIELD_CHARS)}…` : value,
  )
  // JSON leaves these two as they are, and some readers of logs take them for the end of a line.
  console.error(line.replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029'))
}
