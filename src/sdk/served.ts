// A service as its runner sees it.
import type { AnyFunction } from './functions.ts'

/** What a runner knows of a service. */
export interface Served {
  readonly name: string
  /** What the functions were written in: their `this`. */
  readonly owner: object
  readonly functions: ReadonlyMap<string, AnyFunction>
  readonly functionNames: string[]
  slots: number
  /** Functions that run now. */
  running: number
  /** Jobs beyond the slots: they come when the slots become fewer while a poll hangs. */
  waiting: number
  /** Reports that the plane has not answered yet. */
  unsettled: number
  /** Whether new jobs are asked for. */
  isAccepting: boolean
}
