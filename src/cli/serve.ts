// `callplane serve`: the control plane over any Postgres; run as many of them as you like.
import { startOnPostgres } from '../node.ts'
import {
  readArgs,
  readDatabaseUrl,
  readLiveTcp,
  readOrigins,
  readPeerUrl,
  readPort,
  stopSignal,
  type Command,
} from './command.ts'
import { logLine } from './log.ts'

export const serve: Command = {
  summary: 'the control plane on your Postgres; any number of processes',
  help: `Usage: callplane serve [--port 8787] [--host 0.0.0.0]

Serves the control plane over DATABASE_URL. Run "callplane migrate" first, and after each upgrade.
Any number of processes may serve one database. Logs are JSON, one line an event, on stderr.

  DATABASE_URL         postgres://…; needed
  CALLPLANE_ADMIN_KEY  the bootstrap key, which makes keys and namespaces: "callplane keys create --offline"
  PORT                 the port, instead of 8787
  CALLPLANE_ORIGINS    browser origins that may call, comma-separated; optional
  CALLPLANE_LIVE_TCP   where live queries also are lines over TCP, without TLS: host:port, or
                       :port, which only this machine reaches; optional
  CALLPLANE_PEER_URL   where the other processes reach this one, to share large live queries:
                       http://host:port; by default from its address on the network`,

  async run(args) {
    const { values } = readArgs(args, { port: { type: 'string' }, host: { type: 'string', default: '0.0.0.0' } })
    const databaseUrl = readDatabaseUrl('to serve from')
    const stopped = stopSignal()
    const plane = await startOnPostgres(databaseUrl, {
      port: readPort(values.port),
      host: values.host,
      origins: readOrigins(),
      liveTcp: readLiveTcp(),
      peerUrl: readPeerUrl(),
      adminKey: process.env['CALLPLANE_ADMIN_KEY'] || undefined,
      log: logLine,
    })
    logLine({ level: 'info', event: 'listening', url: plane.url, pid: process.pid })
    const signal = await stopped
    logLine({ level: 'info', event: 'stopping', signal })
    await plane.close()
    logLine({ level: 'info', event: 'stopped' })
  },
}
