// The client of a service: an object whose every property is a function that runs elsewhere.
import { RESERVED_FUNCTION_NAMES } from '../protocol/names.ts'
import type { Caller, Target } from './caller.ts'
import { checkCallOptions, type CheckedCallOptions } from './options.ts'
import type { CallOptions, RemoteFunction } from './types.ts'

/** A remote function of which nothing is known; `plane.client` gives it the types of its service. */
type AnyRemoteFunction = RemoteFunction<unknown[], unknown>

const NO_OPTIONS: CheckedCallOptions = { policy: {}, signal: undefined, bytes: 0 }

export function remoteClient(caller: Caller, service: string): object {
  const functions = new Map<string, AnyRemoteFunction>()
  const refuse = () => {
    throw new TypeError('a client cannot be changed')
  }
  // The target stays empty: what inspects it (console.log, JSON.stringify) finds nothing to call.
  return new Proxy(Object.create(null), {
    get(_, name) {
      if (!isFunctionName(name)) return undefined
      let remote = functions.get(name)
      if (remote === undefined) functions.set(name, (remote = remoteFunction(caller, { service, function: name })))
      return remote
    },
    has: (_, name) => isFunctionName(name),
    defineProperty: refuse, // which is how a property is set, too
    deleteProperty: refuse,
  })
}

function remoteFunction(caller: Caller, target: Target, options = NO_OPTIONS): AnyRemoteFunction {
  const call = (...args: unknown[]) => caller.call(target, args, options)
  return Object.assign(call, {
    start: (...args: unknown[]) => caller.start(target, args, options),
    batch: (calls: readonly (readonly unknown[])[]) => caller.batch(target, calls, options),
    handle: (id: string) => caller.handle(id),
    with: (more: CallOptions) => remoteFunction(caller, target, merged(options, checkCallOptions(more))),
  })
}

function merged(first: CheckedCallOptions, second: CheckedCallOptions): CheckedCallOptions {
  return {
    policy: { ...first.policy, ...second.policy },
    signal: second.signal ?? first.signal,
    bytes: first.bytes + second.bytes,
  }
}

function isFunctionName(name: string | symbol): name is string {
  return typeof name === 'string' && !(RESERVED_FUNCTION_NAMES as readonly string[]).includes(name) // wider, to ask for any
}
