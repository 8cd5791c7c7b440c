// The words of `callplane calls` that need no plane: options, durations, the text of others, the timeline of a call.
import { expect, test } from 'vitest'
import type { CallRecord } from '../../src/sdk/admin.ts'
import { calls } from '../../src/cli/calls.ts'
import { readFilter, readTarget } from '../../src/cli/calls-filter.ts'
import { UsageError } from '../../src/cli/command.ts'
import { readDuration, showDuration } from '../../src/cli/duration.ts'
import { oneLine, printable } from '../../src/cli/printable.ts'
import { timelineOf } from '../../src/cli/timeline.ts'

const given = { failed: false, all: false }

test('options are a filter, and one of them must be there where calls are changed', () => {
  expect(readFilter(given)).toEqual({})
  const words = { state: 'failed,cancelled', failure: 'threw', service: 's', function: 'f', since: '1h', before: '5m' }
  expect(readFilter({ ...given, ...words })).toEqual({
    state: ['failed', 'cancelled'],
    failure: ['threw'],
    service: 's',
    function: 'f',
    newerThanMs: 3_600_000,
    olderThanMs: 300_000,
  })
  const every = { state: 'failed' } as const
  expect(readTarget(['x'], given, every)).toEqual(['x'])
  expect(readTarget([], { ...given, failed: true }, every)).toEqual({ state: ['failed'] })
  expect(readTarget([], { ...given, all: true, service: 's' }, every)).toEqual({ state: 'failed', service: 's' })
  expect(() => readTarget([], given, every)).toThrow(UsageError)
  expect(() => readTarget(['x'], { ...given, all: true }, every)).toThrow(/not by both/)
})

test.each([
  [['drop'], /there is no command "drop": use one of list, show, cancel, redrive/],
  [['show'], /say which: callplane calls show ID/],
  [['show', 'x', 'y'], /"y" is one word too many/],
  [['cancel', 'x', '--all'], /by their ids or by options, not by both/],
  [['list', '--since', 'noon'], /--since takes a time such as 90s, 15m, 2h or 7d, not "noon"/],
  [['list', '--limit', '0'], /--limit takes a number from 1, not "0"/],
  [['list', '--limit', '5', '--all'], /--limit and --all do not go together/],
  [['list', '--failed', '--state', 'failed'], /--failed is --state failed/],
  [['redrive', '--colour'], /--colour/],
])('calls %j is used wrongly', async ([word = '', ...rest], message) => {
  const command = calls.commands?.[word]
  const run = command === undefined ? calls.run([word, ...rest]) : command.run(rest)
  await expect(run).rejects.toThrow(message)
  await expect(run).rejects.toBeInstanceOf(UsageError)
})

test.each(Object.entries(calls.commands ?? {}))(
  'calls %s has its help, and a line in that of calls',
  (name, command) => {
    expect(command.help).toMatch(new RegExp(`^Usage: callplane calls ${name} [^]*[Nn]eeds a key`))
    expect(calls.help).toContain(`${name.padEnd(8)} ${command.summary}`)
  },
)

test.each([
  ['500ms', 500],
  ['90s', 90_000],
  ['15m', 900_000],
  ['2h', 7_200_000],
  ['7d', 604_800_000],
])('%s is %i ms', (text, ms) => expect(readDuration('--since', text)).toBe(ms))

test.each(['', '5', '0s', '-1h', '1.5h', '1 h', '2w', 'h'])('"%s" is no duration', (text) => {
  expect(() => readDuration('--since', text)).toThrow(/--since takes a time such as/)
})

test.each([
  [-5, '0 ms'],
  [78.4, '78 ms'],
  [1_234, '1.2 s'],
  [59_940, '59.9 s'],
  [59_960, '1 m'],
  [185_000, '3 m 5 s'],
  [7_800_000, '2 h 10 m'],
  [7_205_000, '2 h'],
  [356_400_000, '4 d 3 h'],
])('%i ms is shown as %s', (ms, text) => expect(showDuration(ms)).toBe(text))

test('control characters of others are shown, not obeyed', () => {
  expect(printable('a\u001b[2Jb\u0007\r\nc\td\u009b\u202ee')).toBe('a\\u001b[2Jb\\u0007\\u000d\nc\td\\u009b\\u202ee')
  expect(oneLine('a\n  b\nc')).toBe('a ⏎ b ⏎ c')
  expect(oneLine('x'.repeat(300))).toBe(`${'x'.repeat(200)}…`)
})

const call: CallRecord = {
  id: '01a1ff8c-af5b-7bef-b708-91d77311faea',
  service: 'greeter',
  function: 'hello',
  state: 'running',
  attempt: 2,
  maxAttempts: 3,
  createdAt: new Date(0),
  timeline: [],
  attempts: [
    {
      attempt: 1,
      fence: 1,
      runner: '9e6e86b2-9a09-4f00-8996-21f4829ef3cf',
      startedAt: new Date(40),
      endedAt: new Date(31_000),
      outcome: 'timed_out',
      message: 'attempt 1 ran longer than its timeout',
    },
    { attempt: 2, fence: 2, runner: '2e6e86b2-9a09-4f00-8996-21f4829ef3cf', startedAt: new Date(32_000) },
  ],
}

test('the timeline of a call tells each attempt and its end, and how long one runs', () => {
  expect(timelineOf(call, 42_500)).toEqual([
    '01a1ff8c-af5b-7bef-b708-91d77311faea  greeter.hello  running',
    '',
    '               1970-01-01 00:00:00.000 UTC, made',
    '      + 40 ms  ├─ attempt 1 of 3, fence 1, runner 9e6e86b2-9a09-4f00-8996-21f4829ef3cf',
    '     + 31.0 s  │  timed out after 31.0 s: attempt 1 ran longer than its timeout',
    '     + 32.0 s  ├─ attempt 2 of 3, fence 2, runner 2e6e86b2-9a09-4f00-8996-21f4829ef3cf',
    '               │  runs for 10.5 s',
    '               └─ running',
  ])
})

test('a call that waits for its time says for which', () => {
  const waiting: CallRecord = {
    ...call,
    state: 'pending',
    waitingFor: 'time',
    reason: 'the call is delayed',
    runAt: new Date(60_000),
    attempts: [],
  }
  expect(timelineOf(waiting).slice(-2)).toEqual([
    '               └─ pending: the call is delayed',
    '                  not before 1970-01-01 00:01:00.000 UTC',
  ])
})
