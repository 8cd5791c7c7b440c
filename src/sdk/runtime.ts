// What a runtime may have beyond fetch, timers and WebCrypto, each looked up behind a guard: the SDK runs without any of it.

/** The part of `globalThis` that only some runtimes have. */
interface MaybeNode {
  process?: {
    env?: Record<string, string | undefined>
    getBuiltinModule?: (name: string) => unknown
  }
}

const runtime = globalThis as MaybeNode // every property is optional, which is what the guards below check

/** An environment variable; undefined where it is not set, empty, or the runtime has no environment. */
export function readEnv(name: string): string | undefined {
  try {
    return runtime.process?.env?.[name] || undefined
  } catch {
    return undefined // Deno throws where the permission to read it is missing.
  }
}

interface NodeCrypto {
  hash?(algorithm: 'sha256', bytes: Uint8Array, form: 'buffer'): Uint8Array
}

/** SHA-256 at once, or undefined where the runtime has no such thing. */
export function sha256Now(bytes: Uint8Array): Uint8Array | undefined {
  const node = runtime.process?.getBuiltinModule?.('node:crypto') as NodeCrypto | undefined // all that we ask of it
  return node?.hash?.('sha256', bytes, 'buffer')
}

/** A store that follows a function through its awaits. */
export interface AsyncStore<T> {
  run<R>(value: T, callback: () => R): R
  getStore(): T | undefined
}

type StoreClass = new <T>() => AsyncStore<T>

/** AsyncLocalStorage, where it can be had without waiting: Node, Bun, Deno, Workers with `nodejs_compat`. */
export function findAsyncStore(): StoreClass | null {
  return storeClassOf(runtime.process?.getBuiltinModule?.('node:async_hooks'))
}

/** Workers with `nodejs_als` alone have no `process`, and give the module only to an import at run time. */
export async function importAsyncStore(): Promise<StoreClass | null> {
  const name = ['node', 'async_hooks'].join(':') // not a literal, so that bundlers for browsers leave it alone
  try {
    return storeClassOf(await import(/* @vite-ignore */ /* webpackIgnore: true */ name))
  } catch {
    return null
  }
}

function storeClassOf(module: unknown): StoreClass | null {
  if (typeof module !== 'object' || module === null || !('AsyncLocalStorage' in module)) return null
  return module.AsyncLocalStorage as StoreClass // the one thing that every runtime has under this name
}

/** Lets the process end although the timer runs, where timers hold processes open. */
export function unref(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function')
    timer.unref()
}
