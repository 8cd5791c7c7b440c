// The SDK in a browser page, as a caller: the bundle loads, and calls a function across origins.
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { Callplane } from 'callplane'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { expect, onTestFinished, test } from 'vitest'
import { setup } from '../support/plane.ts'

const CHROMIUM = '/usr/bin/chromium'
const hasBrowser = existsSync(CHROMIUM)

test('the browser that CI installs is here', { skip: process.env['CI'] !== 'true' }, () => {
  expect(hasBrowser).toBe(true)
})

/** Listens on loopback, and closes with the test. */
async function listen(server: ReturnType<typeof createServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}` // a TCP server that listens has one
}

/** A page's own server: the bundle, and a page that loads it as a module. */
async function servePage(): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: "export * from 'callplane'", resolveDir: import.meta.dirname },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  })
  const files: Record<string, [type: string, text: string]> = {
    '/callplane.js': ['text/javascript', outputFiles[0]?.text ?? ''],
    '/': ['text/html', '<!doctype html><title>Callplane</title>'],
  }
  const server = createServer((request, response) => {
    const [type, text] = files[request.url ?? ''] ?? ['text/plain', '']
    response.writeHead(text === '' ? 404 : 200, { 'content-type': type }).end(text)
  })
  return listen(server)
}

test('a page calls a function and gets its result and its error', { skip: !hasBrowser, timeout: 60_000 }, async () => {
  const origin = await servePage()
  const plane = await setup({ origins: [origin] })
  const url = await listen(createAdaptorServer({ fetch: plane.app.fetch }) as ReturnType<typeof createServer>) // HTTP/1
  const runner = new Callplane(plane.options)
  onTestFinished(() => runner.close())
  const math = runner.service('math', {
    functions: {
      twice: (n: bigint) => 2n * n,
      fail: () => {
        throw new RangeError('too far', { cause: new Date(0) })
      },
    },
  })
  await math.start()

  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
  })
  onTestFinished(() => browser.close())
  const page = await browser.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(String(error)))
  await page.goto(origin)
  const script = `(async () => {
    const { Callplane, currentCall } = await import('/callplane.js')
    const plane = new Callplane(${JSON.stringify({ url, key: await plane.newKey([{ scope: 'call' }]) })})
    const math = plane.client('math')
    const twice = String(await math.twice(21n))
    const error = await math.fail().catch((thrown) => thrown)
    let outside
    try { currentCall() } catch (thrown) { outside = thrown.code }
    await plane.close()
    return { twice, error: [error instanceof RangeError, error.message, error.cause.getTime()], outside }
  })()`
  expect(await page.evaluate(script)).toEqual({ twice: '42', error: [true, 'too far', 0], outside: 'no_call' })
  expect(problems).toEqual([])

  // Another origin's page cannot.
  await page.goto(origin.replace('127.0.0.1', 'localhost')).catch(() => null)
  const elsewhere = await page.evaluate(
    `fetch(${JSON.stringify(url)} + '/v1/keys').then(() => 'read', () => 'refused')`,
  )
  expect(elsewhere).toBe('refused')
})
