// The door to one control plane: clients for its services, services of this process, and their common end.
import { CallplaneError } from '../protocol/errors.ts'
import { checkName } from '../protocol/names.ts'
import type { Call } from './call.ts'
import { Caller } from './caller.ts'
import { remoteClient } from './client.ts'
import type { Functions } from './functions.ts'
import { liveOf } from './live.ts'
import type { Live } from './live-types.ts'
import { checked, notBuilt, test } from './options.ts'
import { Runner } from './runner.ts'
import { readEnv } from './runtime.ts'
import { Service, type ServiceOptions } from './service.ts'
import { transports } from './transport-of.ts'
import { Transport, type Fetch, type WebSocketClass } from './transport.ts'
import type { AnyService, Client, UntypedService } from './types.ts'

const DEFAULT_URL = 'http://127.0.0.1:8787'

const text = test('a string', (value) => typeof value === 'string')
const fetcher = test('a function', (value) => typeof value === 'function')

export interface CallplaneOptions {
  /** Where the control plane is. Default: CALLPLANE_URL, or else http://127.0.0.1:8787. */
  readonly url?: string | undefined
  /** Default: CALLPLANE_KEY. Asked for with the first call or start, which throws `no_key` where there is none. */
  readonly key?: string | undefined
  /** Used for every request. Default: the global one. */
  readonly fetch?: Fetch | undefined
  /** Used for live queries. Default: the global one. */
  readonly WebSocket?: WebSocketClass | undefined
}

/**
 * A control plane, seen from this process. One is enough: all its services share one poll, and calls made in one tick
 * share a request.
 *
 * @example
 * const plane = new Callplane()
 * const mailer = plane.service('mailer', { functions: { greet: async (name: string) => `hello ${name}` } })
 * await mailer.start()
 * const mail = plane.client<typeof mailer>('mailer')
 * await mail.greet('Ada') // 'hello Ada'
 */
export class Callplane {
  /** Live queries: results that the plane keeps up to date. Loaded with the first use. */
  readonly live: Live
  readonly #caller: Caller
  readonly #runner: Runner
  #closing: Promise<void> | undefined

  /** Throws `invalid_option` for an option or a value that there is not, `not_supported` for one that is not built yet. */
  constructor(options: CallplaneOptions = {}) {
    checked('new Callplane', options, { url: text, key: text, fetch: fetcher, WebSocket: fetcher })
    // Without this, who has set it would believe that the values are encrypted.
    if (readEnv('CALLPLANE_ENCRYPTION_KEYS') !== undefined) throw notBuilt('new Callplane', 'CALLPLANE_ENCRYPTION_KEYS')
    const transport = new Transport({ ...options, url: checkUrl(options.url ?? readEnv('CALLPLANE_URL')) })
    transports.set(this, transport)
    this.#caller = new Caller(transport)
    this.#runner = new Runner(transport)
    this.live = liveOf(transport)
  }

  /**
   * Defines a service. Nothing is sent before its `start()`, so that a module that defines one can be loaded anywhere.
   * Throws `invalid_name`, `invalid_option`, `not_supported`.
   */
  service<const Name extends string, F extends Functions>(name: Name, options: ServiceOptions<F>): Service<Name, F> {
    return new Service(this.#runner, name, options)
  }

  /**
   * The functions of a service, wherever they run. Its type comes from the service, whose module is never loaded:
   * `import type { mailer } from './mailer'`, then `plane.client<typeof mailer>('mailer')`.
   */
  client<S extends AnyService = UntypedService>(name: S['name']): Client<S> {
    checkName('service', name)
    return remoteClient(this.#caller, name) as Client<S> // answers every name; which there are, only the type knows
  }

  /** The call of this id, made earlier, by whichever process. Throws `invalid_option` where the id is no UUID. */
  call(id: string): Call<unknown> {
    return this.#caller.handle(id)
  }

  /**
   * Stops the services as their `stop` does, then rejects what still waits with `closed` and ends all watches. Nothing keeps the process alive
   * after that. Never rejects.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#caller.startClosing()
    await this.#runner.close()
    this.#caller.close()
  }
}

function checkUrl(given: string | undefined): string {
  const text = given ?? DEFAULT_URL
  const { protocol, username, password, search, hash, href } = URL.canParse(text) ? new URL(text) : new URL('none:')
  if (!/^https?:$/.test(protocol) || username + password + search + hash !== '') {
    // Not shown: it may hold a password.
    throw new CallplaneError('invalid_option', 'url must be http(s)://host[:port][/path], and no more')
  }
  return href.replace(/\/+$/, '')
}
