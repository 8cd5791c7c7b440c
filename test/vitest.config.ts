// Which test runs where: in this process, beside a real Postgres, inside workerd, or by starting processes.
import { fileURLToPath } from 'node:url'
import { cloudflareTest } from '@cloudflare/vitest-plugin'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('..', import.meta.url))
const POSTGRES = 'test/**/*.postgres.test.ts'
const WORKERD = 'test/**/*.workerd.test.ts'
const E2E = 'test/e2e/**/*.test.ts'

/** The whole sizes of long suites: `npm run check:all`. */
const isLong = process.env['CALLPLANE_LONG'] === '1'
const jsonFile = process.env['CALLPLANE_TEST_JSON']

export default defineConfig({
  root,
  test: {
    // For every project; each begins its work when the first test asks for a database.
    globalSetup: ['test/support/postgres.setup.ts', 'test/support/embedded.setup.ts'],
    // What a test that passes writes to the console is no news.
    silent: 'passed-only',
    // Given on the command line, --reporter takes their place.
    reporters: jsonFile === undefined ? ['default'] : ['default', ['json', { outputFile: jsonFile }]],
    projects: [
      {
        test: {
          ...limits({ testTimeoutMs: 60_000, groupOrder: 0 }),
          name: 'in-process',
          include: ['test/**/*.test.ts'],
          exclude: [POSTGRES, WORKERD, E2E],
        },
      },
      {
        test: {
          ...limits({ testTimeoutMs: 60_000, groupOrder: 1 }),
          name: 'postgres',
          include: [POSTGRES],
          exclude: [E2E],
        },
      },
      {
        plugins: [
          cloudflareTest(({ inject }) => ({
            wrangler: { configPath: 'wrangler.toml' },
            miniflare: { bindings: inject('worker') },
          })),
        ],
        test: {
          ...limits({ testTimeoutMs: 30_000, groupOrder: 2 }),
          name: 'workerd',
          include: [WORKERD],
          exclude: [E2E],
          globalSetup: 'test/support/neon.setup.ts',
          // They share a database, and some count what reaches it.
          fileParallelism: false,
        },
      },
      {
        test: {
          ...limits({ testTimeoutMs: 60_000, groupOrder: 3 }),
          name: 'e2e',
          include: [E2E],
          // Each starts several processes, and some measure time.
          fileParallelism: false,
        },
      },
    ],
  },
})

/** Projects run one after the other, so that what one of them measures is its own. */
function limits({ testTimeoutMs, groupOrder }: { testTimeoutMs: number; groupOrder: number }) {
  const timeoutMs = isLong ? 20 * testTimeoutMs : testTimeoutMs
  return {
    testTimeout: timeoutMs,
    // Set-up may boot PGlite (2–4 s on an idle machine) or Postgres (3 s).
    hookTimeout: Math.max(timeoutMs, 60_000),
    sequence: { groupOrder },
    maxWorkers: 2,
  }
}
