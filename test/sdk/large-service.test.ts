// What types cost: a service of 1,000 functions and a client that uses them must stay cheap to compile.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const FUNCTIONS = 1_000
/** Beyond what the SDK costs without a service. Measured: 91 for a function that is defined and called. */
const MOST_INSTANTIATIONS = 120 * FUNCTIONS

const service = (functions: number) => `
import { Callplane, define } from '${root}src/sdk/index.ts'
import { z } from '${root}node_modules/zod/index.js'
const plane = new Callplane()
export const large = plane.service('large', {
  functions: {
    checked: define({ input: [z.string()] }, (text) => text.length),
    ${Array.from({ length: functions }, (_, n) => `f${n}: async (a: string, b: { n: ${n} }) => ({ a, b }),`).join('\n    ')}
  },
})
`
const client = (functions: number) => `
import { Callplane } from '${root}src/sdk/index.ts'
import type { large } from './service.ts'
const client = new Callplane().client<typeof large>('large')
export const length: number = await client.checked('text')
${Array.from({ length: functions }, (_, n) => `export const r${n}: { a: string; b: { n: ${n} } } = await client.f${n}('a', { n: ${n} })`).join('\n')}
`

/** How many types the compiler makes for a service of so many functions, and for as many calls. */
async function instantiations(functions: number): Promise<{ count: number; seconds: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'callplane-types-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'service.ts'), service(functions))
  writeFileSync(join(folder, 'client.ts'), client(functions))
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }')
  const compilerOptions = { typeRoots: [`${root}node_modules/@types`], noEmit: true }
  const config = { extends: `${root}tsconfig.json`, compilerOptions, include: ['*.ts'] }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
  const tsc = join(root, 'node_modules', '.bin', 'tsc')
  // A failure of the compiler is in what it prints.
  const { stdout } = await promisify(execFile)(tsc, ['-p', folder, '--extendedDiagnostics']).catch((error: unknown) => {
    throw new Error(String((error as { stdout: unknown }).stdout).slice(0, 2_000), { cause: error })
  })
  const read = (label: string) => Number(new RegExp(`^${label}:\\s+([\\d.]+)`, 'm').exec(stdout)?.[1])
  return { count: read('Instantiations'), seconds: read('Check time') }
}

test(`a service of ${FUNCTIONS} functions, each called once, stays cheap to compile`, async () => {
  const [small, large] = [await instantiations(0), await instantiations(FUNCTIONS)]
  const more = large.count - small.count
  console.log(
    `types of ${FUNCTIONS} functions and ${FUNCTIONS} calls: ${more} instantiations more than the ${small.count} of none, ` +
      `checked in ${large.seconds} s`,
  )
  expect(more).toBeGreaterThan(FUNCTIONS)
  expect(more).toBeLessThan(MOST_INSTANTIATIONS)
})
