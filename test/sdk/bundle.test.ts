// What the SDK weighs in a browser or a Worker, and what it must not bring there.
import { gzipSync } from 'node:zlib'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'

const MAX_GZIP_BYTES = 20_000

test('the SDK is small, has at most one dependency, and asks for no runtime of its own', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/sdk/index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    metafile: true,
    write: false,
  })
  const [output] = outputFiles
  const text = output?.text ?? ''
  const gzipBytes = gzipSync(text, { level: 9 }).length
  console.log(`the SDK, minified: ${text.length} bytes, gzipped ${gzipBytes}`)
  expect(gzipBytes).toBeLessThanOrEqual(MAX_GZIP_BYTES)

  const inputs = Object.keys(metafile.inputs)
  const packages = new Set(inputs.flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []))
  packages.delete('@msgpack/msgpack')
  expect([...packages]).toEqual([])
  expect(inputs.filter((path) => !/^src\/(sdk|protocol)\/|node_modules/.test(path))).toEqual([])
  // What those need who operate a plane has a door of its own, and does not weigh on those who call.
  expect(inputs.filter((path) => /admin|operated-calls|call-filter|call-record/.test(path))).toEqual([])
  const imports = Object.values(metafile.outputs).flatMap((one) => one.imports)
  expect(imports).toEqual([])
  // As names in strings they are harmless: what is looked up behind a guard, and a class that the codec knows by name.
  const code = text.replaceAll(/"(node:async_hooks|node:crypto|Buffer)"/g, '')
  expect(/.{0,40}(node:|\bBuffer\b|\brequire\b).{0,40}/.exec(code)?.[0]).toBeUndefined()
})
