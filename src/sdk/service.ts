// A service: named functions that this process runs for callers anywhere.
import { checkName } from '../protocol/names.ts'
import type { AnyFunction, Functions } from './functions.ts'
import { anything, checked, checkSlots, wrongValue } from './options.ts'
import { quiet } from './quiet.ts'
import type { Runner } from './runner.ts'
import type { Served } from './served.ts'

const DEFAULT_SLOTS = 100
const WANTED = 'an object with functions of its own'

export interface ServiceOptions<F extends Functions> {
  /** Plain functions, or functions with options from `define`. Their own names only: nothing inherited can be called. */
  readonly functions: F
  /** How many may run at once in this process. Default 100. */
  readonly slots?: number | undefined
}

/** Made by `plane.service`. `typeof` it is what `plane.client` takes. */
export class Service<const Name extends string = string, F extends Functions = Functions> {
  readonly name: Name
  /** As they were given: a unit test can call them directly. */
  readonly functions: F
  readonly #runner: Runner
  readonly #served: Served

  constructor(runner: Runner, name: Name, options: ServiceOptions<F>) {
    checkName('service', name)
    const { slots = DEFAULT_SLOTS } = checked('service', options, { functions: anything, slots: checkSlots })
    this.name = name
    this.functions = options.functions
    this.#runner = runner
    this.#served = serve(name, options.functions, Number(slots))
  }

  /**
   * Registers the service and begins to take jobs. Resolves once registered; keeps trying while the plane is down.
   * Rejects with `no_key`, `unauthorized`, `forbidden` and whatever else the plane refuses a registration with, and with
   * `closed` where `stop` or `plane.close` comes first.
   */
  start(): Promise<void> {
    return quiet(this.#runner.start(this.#served))
  }

  /**
   * Takes no new jobs, lets running functions finish, delivers their results, then resolves. Results that the plane does
   * not take for 30 seconds are given up: their jobs run again elsewhere. Other services go on. Never rejects.
   */
  stop(): Promise<void> {
    return this.#runner.stop(this.#served)
  }

  /** How many functions may run at once here. Takes effect at once; 0 pauses. Throws `invalid_option`. */
  get slots(): number {
    return this.#served.slots
  }

  set slots(slots: number) {
    checkSlots(slots)
    this.#served.slots = slots
    this.#runner.resize(this.#served)
  }
}

function serve(name: string, owner: unknown, slots: number): Served {
  if (typeof owner !== 'object' || owner === null) throw wrongValue('functions', WANTED, owner)
  const functions = new Map<string, AnyFunction>()
  for (const [key, fn] of Object.entries(owner)) {
    checkName('function', key)
    if (typeof fn !== 'function') throw wrongValue(`functions.${key}`, 'a function', fn)
    functions.set(key, fn as AnyFunction) // checked just above
  }
  if (functions.size === 0) throw wrongValue('functions', WANTED, owner)
  return {
    name,
    owner,
    functions,
    functionNames: [...functions.keys()],
    slots,
    running: 0,
    waiting: 0,
    unsettled: 0,
    isAccepting: false,
  }
}
