// `callplane dev`, which is `npm start`: the control plane on the embedded database, for a first try and for tests.
import { resolve } from 'node:path'
import { startEmbedded } from '../node.ts'
import { readArgs, readLiveTcp, readOrigins, readPort, stopSignal, type Command } from './command.ts'
import { logLine } from './log.ts'
import { startWorkerd } from './workerd.ts'

export const dev: Command = {
  summary: 'the control plane on an embedded database, for a first try',
  help: `Usage: callplane dev [--port 8787] [--host 127.0.0.1] [--workerd]

Serves the control plane from this process, with Postgres in WebAssembly in the folder
.callplane: nothing to install, nothing to configure. State survives a restart.
The embedded database does not fsync: it is for development, not for data you mean to keep.

  --workerd  runs the Worker itself, through wrangler, in a checkout of this project; with
             DATABASE_URL over that Postgres, else over the embedded database

  CALLPLANE_DIR        the folder, instead of .callplane
  PORT                 the port, instead of 8787
  CALLPLANE_ADMIN_KEY  a bootstrap key, which may make namespaces; optional
  CALLPLANE_ORIGINS    browser origins that may call, comma-separated; optional
  CALLPLANE_LIVE_TCP   where live queries also are lines over TCP, without TLS: host:port, or
                       :port, which only this machine reaches; optional, and not with --workerd`,

  async run(args) {
    const { values } = readArgs(args, {
      port: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      workerd: { type: 'boolean', default: false },
    })
    const dir = resolve(process.env['CALLPLANE_DIR'] || '.callplane')
    const port = readPort(values.port)
    const origins = readOrigins()
    const liveTcp = readLiveTcp()
    if (values.workerd && liveTcp !== undefined) {
      throw new Error('CALLPLANE_LIVE_TCP is set, and Cloudflare takes no TCP: leave it or --workerd out')
    }
    const adminKey = process.env['CALLPLANE_ADMIN_KEY'] || undefined
    console.log(`Callplane opens its database in ${dir} …`)
    const stopped = stopSignal()
    if (values.workerd) {
      const databaseUrl = process.env['DATABASE_URL'] || undefined
      const worker = await startWorkerd(dir, { port, host: values.host, origins, adminKey, databaseUrl })
      console.log(greeting(worker))
      await Promise.race([stopped, worker.exited])
      return worker.close()
    }
    const plane = await startEmbedded(dir, {
      port,
      host: values.host,
      origins,
      adminKey,
      liveTcp,
      log: (event) => {
        if (event.level !== 'info') logLine(event)
      },
    })
    console.log(greeting(plane))
    await stopped
    console.log('\nCallplane finishes what it is doing …')
    await plane.close()
  },
}

function greeting({ url, key, liveTcp = null }: { url: string; key: string; liveTcp?: string | null }): string {
  const tcp = liveTcp === null ? '' : `\n    TCP  ${liveTcp}`
  return `
  Callplane is ready.

    URL  ${url}
    key  ${key}${tcp}

  Paste this into hello.ts, and run it with CALLPLANE_KEY set to the key:

    import { Callplane } from 'callplane'

    const plane = new Callplane({ url: '${url}' })
    const greeter = plane.service('greeter', {
      functions: { hello: async (name: string) => \`hello \${name}\` },
    })
    await greeter.start()
    console.log(await plane.client<typeof greeter>('greeter').hello('Ada'))
    await plane.close()

  "npm run demo" in another terminal shows more. Ctrl-C stops.
`
}
