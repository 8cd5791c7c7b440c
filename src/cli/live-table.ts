// The result of a live query as lines of a terminal, and a terminal on which they stand still while they change.
import { showDuration } from './duration.ts'
import { count, oneLine } from './printable.ts'

/** A result at one moment. Columns say by their names what they hold: `…_at` a time, `…_ms` a duration, `…_rate` a share. */
export interface Result {
  readonly name: string
  readonly tick: number
  readonly rows: readonly object[]
  /** Rows that come in no order are put in that of their columns. */
  readonly isOrdered: boolean
}

interface Size {
  readonly columns: number
  readonly rows: number
}

/** No more lines and characters than the terminal has. */
export function linesOf({ name, tick, rows, isOrdered }: Result, { columns, rows: height }: Size): string[] {
  const head = `${oneLine(name)}   tick ${tick}   ${count(rows.length, 'row')}`
  const foot = 'ctrl-c ends'
  // Around the rows are the head, an empty line, the names of the columns, an empty line and the foot; and the cursor's line.
  const room = Math.max(0, height - 6)
  const inOrder = isOrdered ? rows : rows.toSorted(compareRows)
  const shown = inOrder.slice(0, rows.length > room ? Math.max(0, room - 1) : room)
  const more = rows.length > shown.length ? [`… ${count(rows.length - shown.length, 'more row')}`] : []
  const body =
    rows.length === 0 ? ['nothing, so far'] : table(shown.length > 0 ? shown : rows.slice(0, 1), shown.length)
  const lines = [head, '', ...body, ...more, '', foot]
  return lines.slice(0, Math.max(1, height - 1)).map((line) => cut(line, columns))
}

/** Writes over what it wrote before. */
export function screen(out: { write(text: string): unknown }): (lines: readonly string[]) => void {
  let drawn = 0
  return (lines) => {
    const up = drawn > 0 ? `\u001b[${drawn}A` : ''
    out.write(`${up}\r\u001b[J${lines.join('\n')}\n`)
    drawn = lines.length
  }
}

/** The columns of the rows above so many of them, aligned. */
function table(rows: readonly object[], shown: number): string[] {
  const names = Object.keys(rows[0] ?? {})
  const cells = rows.slice(0, shown).map((row) => new Map(Object.entries(row)))
  const columns = names.map((name) => {
    const texts = cells.map((row) => cellOf(name, row.get(name)))
    const isNumber = !name.endsWith('_at') && cells.some((row) => typeof row.get(name) === 'number')
    const head = oneLine(name).replaceAll('_', ' ').toUpperCase()
    const width = Math.max(head.length, ...texts.map((text) => text.length))
    return [head, ...texts].map((text) => (isNumber ? text.padStart(width) : text.padEnd(width)))
  })
  return Array.from({ length: 1 + shown }, (_, line) =>
    columns
      .map((column) => column[line] ?? '')
      .join('  ')
      .trimEnd(),
  )
}

function cellOf(name: string, value: unknown): string {
  if (value === null || value === undefined) return '-'
  if (typeof value !== 'number') return oneLine(String(value), 100)
  if (name.endsWith('_at') && Math.abs(value) <= 8.64e15)
    return new Date(value).toISOString().slice(0, 19).replace('T', ' ')
  if (name.endsWith('_ms')) return showDuration(value)
  if (name.endsWith('_rate')) return `${(100 * value).toFixed(1)} %`
  return Number.isInteger(value) ? String(value) : value.toFixed(3)
}

function cut(line: string, columns: number): string {
  return line.length > columns ? `${line.slice(0, Math.max(0, columns - 1))}…` : line
}

function compareRows(a: object, b: object): number {
  const other = new Map<string, unknown>(Object.entries(b))
  for (const [name, value] of Object.entries(a)) {
    const order = compareValues(value, other.get(name))
    if (order !== 0) return order
  }
  return 0
}

/** Nulls come last. */
function compareValues(a: unknown, b: unknown): number {
  if (a === b) return 0
  if (typeof a === 'number' && typeof b === 'number') return a - b
  if (a === null || b === null) return a === null ? 1 : -1
  return String(a) < String(b) ? -1 : 1
}
