// `callplane keys`: makes keys.
import { SCOPES, type Scope } from '../protocol/endpoint.ts'
import { createKey, newKey } from '../protocol/keys.ts'
import { readArgs, UsageError, type Command } from './command.ts'
import { ask } from './plane.ts'

export const keys: Command = {
  summary: 'makes keys: keys create',
  help: `Usage: callplane keys create [--scope SCOPE[:SERVICE,…]]… [--name TEXT] [--namespace NAME] [--json]
       callplane keys create --offline

Makes a key and prints it, once: only a hash of it is kept.

  --scope      call, serve, watch or admin; may be repeated. Default: call and serve.
               "call:mailer,greeter" is good for these services alone.
  --name       what people see in lists
  --namespace  the namespace, made if need be; other than that of CALLPLANE_KEY for the bootstrap key alone
  --offline    prints a new bootstrap key for CALLPLANE_ADMIN_KEY, without asking any plane

  CALLPLANE_URL  the plane, default http://127.0.0.1:8787
  CALLPLANE_KEY  a key with the scope admin, or the bootstrap key`,

  async run(args) {
    const { values, positionals } = readArgs(
      args,
      {
        scope: { type: 'string', multiple: true, default: ['call', 'serve'] },
        name: { type: 'string' },
        namespace: { type: 'string' },
        offline: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
      1,
    )
    if (positionals[0] !== 'create') throw new UsageError('say "callplane keys create"')
    if (values.offline) {
      const { key } = newKey()
      return console.log(values.json ? JSON.stringify({ key }) : key)
    }
    const { name, namespace } = values
    const created = await ask(createKey, {
      grants: values.scope.map(readGrant),
      ...(name === undefined ? {} : { name }),
      ...(namespace === undefined ? {} : { namespace }),
    })
    console.log(values.json ? JSON.stringify(created) : created.key)
  },
}

function readGrant(text: string) {
  const [word = '', services] = text.split(':', 2)
  const scope = SCOPES.find((known): known is Scope => known === word)
  if (scope === undefined) throw new UsageError(`"${word}" is no scope: use one of ${SCOPES.join(', ')}`)
  return services === undefined ? { scope } : { scope, services: services.split(',') }
}
