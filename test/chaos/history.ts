// What happened in a run, one JSON object a line: what callers asked and were told, what runners began, what was broken.
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** A call is known by its number, its first argument, since a call without an answer has no id that its caller knows. */
export type Event =
  /** A caller asks. From here on the plane may have the call. */
  | { kind: 'invoke'; call: number }
  /** The plane has said that it has the call. */
  | { kind: 'accepted'; call: number; id: string }
  /** The caller got a result; every function returns the fence of the attempt that it came from. */
  | { kind: 'ok'; call: number; fence: number }
  /** The caller was told that the call ended otherwise. */
  | { kind: 'fail'; call: number; code: string }
  /** The caller was told nothing that binds the plane. */
  | { kind: 'unknown'; call: number; code: string }
  /** What the plane answered to a cancel: the state of the call. */
  | { kind: 'cancel'; call: number; state: string }
  /** A function is about to run; written before its first statement. */
  | { kind: 'execution'; call: number; namespace: string; job: string; attempt: number; fence: number; runner: number }
  | { kind: 'fault'; what: string }

export type Recorded = Event & { atMs: number }

/**
 * A file that several processes append to. Each event is one write to the system: a SIGKILL right after it loses nothing,
 * and lines do not mix.
 */
export class History {
  readonly file: string
  readonly #descriptor: number

  constructor(file: string) {
    this.file = file
    this.#descriptor = openSync(file, 'a')
  }

  write(event: Event): void {
    const recorded: Recorded = { atMs: Date.now(), ...event }
    writeSync(this.#descriptor, `${JSON.stringify(recorded)}\n`)
  }

  read(): Recorded[] {
    const lines = readFileSync(this.file, 'utf8').split('\n').filter(Boolean)
    return lines.map((line) => JSON.parse(line) as Recorded) // only write() writes to it
  }

  close(): void {
    closeSync(this.#descriptor)
  }
}
