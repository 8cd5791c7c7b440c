// `callplane peers`: who answers live queries in a namespace, and how each does.
import { listPeers, type PeerListed } from '../protocol/peers.ts'
import { readArgs, type Command } from './command.ts'
import { showDuration } from './duration.ts'
import { ask } from './plane.ts'
import { showBytes } from './size.ts'
import { linesOfTable } from './table.ts'

export const peers: Command = {
  summary: 'the peers of live queries, and how each does',
  help: `Usage: callplane peers [--json]

Lists the peers of live queries that have clients in the namespace, or share its queries: how far each has come in the log,
what it runs, and who reads too slowly there. A peer tells this every few seconds while something happens; over an idle
plane it sleeps.

  --json   a JSON array

Needs a key with the scope watch.

  CALLPLANE_URL  the plane, default http://127.0.0.1:8787
  CALLPLANE_KEY  a key; default that of the embedded plane in CALLPLANE_DIR (.callplane)`,

  async run(args) {
    const { values } = readArgs(args, { json: { type: 'boolean', default: false } })
    const { peers: found } = await ask(listPeers)
    if (values.json) return console.log(JSON.stringify(found))
    if (found.length === 0) return console.log('Nobody watches: "callplane watch queues" does.')
    for (const line of linesOfTable([HEAD, ...found.map(cellsOf)])) console.log(line)
  },
}

const HEAD = ['PEER', 'SEEN', 'TICK', 'LAG', 'CLIENTS', 'SLOW', 'QUERIES', 'ROWS', 'MEMORY']

function cellsOf({ id, seenAt, isAwake, tick, lag, clients, slowClients, queries, rows, bytes }: PeerListed): string[] {
  const agoMs = Math.max(0, Date.now() - Date.parse(seenAt))
  const seen = `${showDuration(agoMs)} ago${isAwake ? '' : ', asleep'}`
  return [id, seen, ...[tick, lag, clients, slowClients, queries, rows].map(String), showBytes(bytes)]
}
