// The watchers of a run find each way in which a peer breaks the protocol, where it is planted, and nothing where it keeps it.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocketServer, type WebSocket as ServerSocket } from 'ws'
import type { LiveResult } from '../../../src/protocol/live.ts'
import { Ledger } from './ledger.ts'
import { Watcher } from './watcher.ts'

const row = (n: number) => ({ n })
const snapshot = (tick: number, ...of: number[]): LiveResult => ({ Snapshot: ['q', of.map(row), tick] })
const diff = (tick: number, ...of: [n: number, diff: number][]): LiveResult => ({
  QueryDiff: ['q', of.map(([n, by]) => [row(n), by]), tick],
})
const reset: LiveResult = { Reset: ['q', 'for this reason'] }
const progress = (tick: number): LiveResult => ({ Progress: ['q', tick] })

const GOOD = [snapshot(1, 7), diff(2, [7, -1], [8, 1]), progress(3), reset, snapshot(4, 8), diff(5, [9, 1])]

/** A peer that answers every request, and an interest with these results besides. */
async function peerThatSays(results: readonly LiveResult[]): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => server.close())
  await once(server, 'listening')
  server.on('connection', (socket: ServerSocket) => {
    socket.on('message', (data: Buffer) => {
      for (const request of JSON.parse(data.toString()) as { id: number; Interest?: object }[]) {
        socket.send(JSON.stringify({ Ok: request.id }))
        if (request.Interest === undefined) continue
        for (const result of [...results, { Progress: ['other', 0] }]) socket.send(JSON.stringify(result))
      }
    })
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}` // it listens on TCP
}

/** What a watcher has to say of that; the last it is told is of a query that it does not have. */
async function faultsOf(results: readonly LiveResult[], ledger = new Ledger()): Promise<string[]> {
  const url = await peerThatSays(results)
  const watcher = new Watcher({ name: 'it', url: () => url, key: 'any', ledger, names: ['q'] })
  onTestFinished(() => watcher.close())
  await expect.poll(() => watcher.faults.at(-1)).toBe('it was told of other at 0 before its snapshot')
  return watcher.faults.slice(0, -1)
}

const PLANTED: Record<string, LiveResult[]> = {
  'a diff that comes twice': [snapshot(1, 7), diff(2, [8, 1]), diff(2, [8, 1])],
  'a diff that comes late': [snapshot(1, 7), diff(3, [8, 1]), diff(2, [9, 1])],
  'a progress to where it was': [snapshot(1, 7), diff(2, [8, 1]), progress(2)],
  'a diff of a row that is not there': [snapshot(1, 7), diff(2, [8, -1])],
  'a diff that is empty': [snapshot(1, 7), diff(2)],
  'a diff that is not consolidated': [snapshot(1, 7), diff(2, [8, 1], [8, 1])],
  'a diff after a reset': [snapshot(1, 7), reset, diff(2, [8, 1])],
  'a diff before the snapshot': [diff(2, [8, 1])],
  'a snapshot without a reset': [snapshot(1, 7), snapshot(2, 8)],
  'a reset after a reset': [snapshot(1, 7), reset, reset, snapshot(2, 8)],
}

test('a peer that keeps the protocol is found to do so', async () => {
  expect(await faultsOf(GOOD)).toEqual([])
})

test.for(Object.entries(PLANTED))('a watcher finds %s', async ([, results]) => {
  expect(await faultsOf(results)).toHaveLength(1)
})

test('two that hold other rows at one tick disagree, in whichever way they came there', async () => {
  const ledger = new Ledger()
  await faultsOf(GOOD, ledger)
  await faultsOf([snapshot(5, 9, 8)], ledger)
  expect(ledger.disagreements).toEqual([])
  expect(ledger.confirmed).toBe(1)
  await faultsOf([snapshot(5, 9)], ledger)
  expect(ledger.disagreements).toEqual(['q at 5, it holds other rows than it'])
})
