// Planes in processes of their own over one Postgres, and clients that speak to their peers.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { insertKey } from '../../src/db/keys.ts'
import type { Sql } from '../../src/db/sql.ts'
import { hashSecret, newKey } from '../../src/protocol/keys.ts'
import type { FromPlane, LivePlaneOptions, PeerState, StateQuestion } from '../support/live-plane.ts'
import type { WireClient } from './client.ts'
import { overWebSocket } from './stage.ts'

const PLANE = new URL('../support/live-plane.ts', import.meta.url).pathname

export interface PlaneProcess {
  url: string
  process: ChildProcess
  /** A client of its peer that has authenticated. */
  connect(key: string): Promise<WireClient>
  /** One question at a time. */
  stateOf(question: StateQuestion): Promise<PeerState | null>
  kill(): Promise<void>
}

export async function startPlane(databaseUrl: string, options: LivePlaneOptions = {}): Promise<PlaneProcess> {
  const args = [PLANE, databaseUrl, JSON.stringify(options)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const answer = async (): Promise<FromPlane> => ((await once(child, 'message')) as [FromPlane])[0] // what live-plane.ts sends
  const begun = await answer()
  const url = 'url' in begun ? begun.url : ''
  return {
    url,
    process: child,
    async connect(key) {
      const client = await overWebSocket(`${url.replace('http', 'ws')}/v1/live`)
      await client.ask('Auth', { key })
      return client
    },
    async stateOf(question) {
      const answered = answer()
      child.send(question)
      const told = await answered
      return 'state' in told ? told.state : null
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** One that goes with the test at the latest. */
export async function planeOfTest(databaseUrl: string, options?: LivePlaneOptions): Promise<PlaneProcess> {
  const plane = await startPlane(databaseUrl, options)
  onTestFinished(() => plane.kill())
  return plane
}

/** A key that may do everything in a namespace. */
export async function keyOf(sql: Sql, namespace: string): Promise<string> {
  const { id, secret, key } = newKey()
  const grants = [{ scope: 'watch' as const }, { scope: 'call' as const }, { scope: 'serve' as const }]
  await insertKey(sql, { id, namespace, name: null, secretHash: await hashSecret(secret), grants })
  return key
}
