// What the SDK weighs in a browser or a Worker, and what it must not bring there.
import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

const MAX_DOOR_GZIP_BYTES = 20_000
/** What registers a query again after a cut takes its shards along. */
const MAX_LIVE_GZIP_BYTES = 6_020

const CHUNK = './live-client.ts'

/** What everyone loads who imports the SDK; who writes no plans has no builder of them, as bundlers leave out what is not used. */
const DOOR = `export { Callplane, CallplaneError, NonRetryableError, currentCall, define } from './index.ts'`
const BUILDER = ['aggregation', 'condition', 'expression', 'from']
  .map((file) => `export * from '../protocol/${file}.ts'`)
  .join('\n')

/** A bundle of the SDK without what it loads later. */
async function bundle(contents: string) {
  const { outputFiles, metafile } = await build({ ...options(contents), external: [CHUNK] })
  return { text: outputFiles[0]?.text ?? '', metafile }
}

function options(contents: string) {
  return {
    stdin: { contents, resolveDir: fileURLToPath(new URL('../../src/sdk', import.meta.url)) },
    bundle: true,
    minify: true,
    format: 'esm' as const,
    platform: 'neutral' as const,
    mainFields: ['module', 'main'],
    metafile: true as const,
    write: false as const,
  }
}

const gzipBytes = (text: string) => gzipSync(text, { level: 9 }).length

/** As names in strings they are harmless: what is looked up behind a guard, and a class that the codec knows by name. */
function runtimeIn(text: string): string | undefined {
  const code = text.replaceAll(/"(node:async_hooks|node:crypto|Buffer)"/g, '')
  return /.{0,40}(node:|\bBuffer\b|\brequire\b).{0,40}/.exec(code)?.[0]
}

test('the SDK is small, has at most one dependency, and asks for no runtime of its own', async () => {
  const { text, metafile } = await bundle(DOOR)
  console.log(`the SDK, minified: ${text.length} bytes, gzipped ${gzipBytes(text)}`)
  expect(gzipBytes(text)).toBeLessThanOrEqual(MAX_DOOR_GZIP_BYTES)

  const inputs = Object.keys(metafile.inputs)
  const packages = new Set(inputs.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []))
  packages.delete('@msgpack/msgpack')
  expect([...packages]).toEqual([])
  expect(inputs.filter((path) => !/^src\/(sdk|protocol)\/|node_modules|^<stdin>$/.test(path))).toEqual([])
  // What those need who operate a plane has a door of its own, and does not weigh on those who call.
  expect(inputs.filter((path) => /admin|operated-calls|call-filter|call-record/.test(path))).toEqual([])
  const imports = Object.values(metafile.outputs).flatMap((one) => one.imports)
  expect(imports.map(({ path, kind }) => [path, kind])).toEqual([[CHUNK, 'dynamic-import']])
  expect(runtimeIn(text)).toBeUndefined()
})

test('whoever writes no plan has no builder of them, and whoever writes some has nothing else', async () => {
  const usedBy = (metafile: Awaited<ReturnType<typeof bundle>>['metafile']) =>
    Object.values(metafile.outputs).flatMap(({ inputs }) =>
      Object.entries(inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
    )
  const door = await bundle(DOOR)
  expect(usedBy(door.metafile).filter((path) => /from|aggregation|condition|expression/.test(path))).toEqual([])
  const { metafile, text } = await bundle(`export { from } from './index.ts'`)
  expect(text).not.toMatch(/p99|truncate/)
  expect(usedBy(metafile).filter((path) => /sdk|errors/.test(path))).toEqual([])
})

test('live queries are loaded when they are used: they and the builder of plans are small too', async () => {
  const { outputFiles } = await build({ ...options(DOOR), splitting: true, outdir: 'bundle' })
  const chunk = outputFiles.find(({ path }) => path.includes('live-client'))?.text ?? ''
  expect(chunk).toContain('Interest')
  const builder = (await bundle(BUILDER)).text
  const bytes = gzipBytes(chunk) + gzipBytes(builder)
  console.log(`live queries, gzipped: ${gzipBytes(chunk)} bytes, the builder of plans ${gzipBytes(builder)}`)
  expect(bytes).toBeLessThanOrEqual(MAX_LIVE_GZIP_BYTES)
  expect(runtimeIn(chunk + builder)).toBeUndefined()
})
