// Ten thousand clients of live queries that connect and say nothing do not keep another from being served.
import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { echo } from '../live/echo.ts'
import { run } from '../support/cli.ts'
import { TRANSPORTS } from '../support/live-client.ts'

const SILENT = 10_000

/** Node has raised it to what the system allows. */
const openFiles = Number(execFileSync('sh', ['-c', 'ulimit -n']).toString().replace('unlimited', 'Infinity'))

test.skipIf(openFiles < SILENT + 500).each(TRANSPORTS)('over %s', async (transport) => {
  const { connect, clients, ports, until } = await echo({ silentMs: 10 * 60_000, maxSilent: SILENT })
  const other = await connect(transport)
  other.send('before')
  expect(await other.next()).toBe('before')
  const silent = run('test/support/silent-clients.ts', [transport, String(ports[transport]), String(SILENT)])
  const [, connected] = await silent.prints(/connected (\d+)/)
  expect(connected).toBe(String(SILENT))
  await until(() => clients.length === SILENT + 1)
  other.send('among them')
  expect(await other.next()).toBe('among them')
  expect(clients.filter(({ refused, closed }) => refused !== null || closed > 0)).toEqual([])
  await silent.stop('SIGKILL')
  await until(() => clients.every(({ closed }, index) => closed === (index === 0 ? 0 : 1)))
  other.send('without them')
  expect(await other.next()).toBe('without them')
})
