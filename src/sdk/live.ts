// The door of live queries. What is behind it is loaded with the first use, so that it does not weigh on those who only call.
import type { LiveClient } from './live-client.ts'
import type { Live, LiveQuery } from './live-types.ts'
import type { Callbacks } from './live-watch.ts'
import { quiet } from './quiet.ts'
import type { Transport } from './transport.ts'

export function liveOf(transport: Transport): Live {
  let client: Promise<LiveClient> | undefined
  const ask = <T>(use: (client: LiveClient) => T | Promise<T>) => {
    client ??= import('./live-client.ts').then(({ LiveClient }) => new LiveClient(transport))
    return quiet(client.then(use))
  }
  return {
    register: (name, query, options) => ask((client) => client.register(name, query, options)),
    unregister: (name) => ask((client) => client.unregister(name)),
    createRelation: (name, columns, options) => ask((client) => client.createRelation(name, columns, options)),
    closeRelation: (name) => ask((client) => client.closeRelation(name)),
    status: () => ask((client) => client.status()),
    watch(query: LiveQuery<object> | string, options?: Callbacks) {
      const watch = ask((client) => client.watch(query, options))
      const step = (name: 'next' | 'return') => () => quiet(watch.then((watch) => watch[name]()))
      if (options?.onChange) {
        void quiet(watch.catch(options.onError))
        return step('return')
      }
      return {
        next: step('next'),
        return: step('return'),
        [Symbol.asyncIterator]() {
          return this
        },
      }
    },
  } as Live // the overloads of watch are told apart by onChange
}
