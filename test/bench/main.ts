// `npm run bench -- [--quick] [--only a,b] [--json FILE]`: what a call costs, on Node and in workerd,
// beside its floor; and what the live queries do.
import { writeFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { measureNode } from './node-host.ts'
import { isMeasured, type Figures } from './figures.ts'
import { measureLive } from './live.ts'
import { measureWorkerd } from './workerd-host.ts'

const { values } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, json: { type: 'string' } },
})

const HOSTS = { node: measureNode, workerd: measureWorkerd }
const PARTS = [...Object.keys(HOSTS), 'live']
const wanted = values.only?.split(',') ?? PARTS
const unknown = wanted.filter((name) => !PARTS.includes(name))
if (unknown.length > 0) {
  console.error(`no such part: ${unknown.join(', ')}; there are ${PARTS.join(', ')}`)
  process.exit(1)
}

const beganMs = performance.now()
const say = (what: string) => console.error(`${Math.round((performance.now() - beganMs) / 1_000)} s  ${what}`)
const hosts: Record<string, Figures> = {}
for (const [name, measure] of Object.entries(HOSTS)) {
  if (!wanted.includes(name)) continue
  hosts[name] = await measure({ isQuick: values.quick, say: (what) => say(`${name}: ${what}`) })
}
const live = wanted.includes('live')
  ? await measureLive({ isQuick: values.quick, say: (what) => say(`live: ${what}`) })
  : undefined

const machine = {
  cpus: cpus().length,
  cpu: cpus()[0]?.model ?? 'unknown',
  memoryGb: Math.round(totalmem() / 2 ** 30),
  platform: `${platform()}-${arch()}`,
  node: process.version,
}
const all = { ...hosts, ...(live === undefined ? {} : { live }) }
console.log(tableOf(all))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ machine, hosts, live }, null, 2)}\n`)

function tableOf(all: Record<string, Figures>): string {
  const rows = [['host', 'figure', 'value', 'floor', 'ratio']]
  for (const [host, figures] of Object.entries(all)) {
    for (const [name, { value, floor, ratio }] of Object.entries(figures)) {
      rows.push([host, name, show(value), show(floor), show(ratio)])
    }
  }
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const line = (row: string[]) =>
    row.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
  return rows.map((row) => line(row).join('  ')).join('\n')
}

function show(value: number | null): string {
  if (value === null) return '–'
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toFixed(2)
}

process.exit(Object.values(all).every((figures) => Object.values(figures).every(isMeasured)) ? 0 : 1)
