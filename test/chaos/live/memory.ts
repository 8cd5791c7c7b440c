// What the peer that lives all the while holds: as much in the last third of the run as in the middle one.
import { expectThat } from '../scenario.ts'
import { pause } from '../stage.ts'
import { WITNESS, type LivePeers } from './peers.ts'

const EVERY_MS = 2_000
const MIB = 2 ** 20
/** Below that, the thirds are too short to say anything. */
const LEAST_SAMPLES = 30
/** Of the heap after a collection; of all that the system gave the process, which it gives back when it likes. */
const HELD = { share: 1.15, slackMib: 4 }
const RSS = { share: 1.25, slackMib: 16 }

interface Sample {
  heldMib: number
  rssMib: number
}

export class Memory {
  readonly #peers: LivePeers
  readonly #samples: Sample[] = []
  readonly #over = new AbortController()
  readonly #watching: Promise<void>

  constructor(peers: LivePeers) {
    this.#peers = peers
    this.#watching = this.#watch()
  }

  async #watch(): Promise<void> {
    while (!this.#over.signal.aborted) {
      const { heldBytes, rssBytes } = await this.#peers.vitalsOf(WITNESS)
      this.#samples.push({ heldMib: heldBytes / MIB, rssMib: rssBytes / MIB })
      await pause(EVERY_MS)
    }
  }

  async stop(): Promise<void> {
    this.#over.abort()
    await this.#watching
  }

  get figures(): Record<string, number> {
    return {
      heldMibMiddle: this.#median('heldMib', 1),
      heldMibEnd: this.#median('heldMib', 2),
      rssMibMiddle: this.#median('rssMib', 1),
      rssMibEnd: this.#median('rssMib', 2),
    }
  }

  get faults(): string[] {
    if (this.#samples.length < LEAST_SAMPLES) return []
    return [...this.#grown('heldMib', HELD), ...this.#grown('rssMib', RSS)]
  }

  #grown(of: keyof Sample, { share, slackMib }: { share: number; slackMib: number }): string[] {
    const [middle, end] = [this.#median(of, 1), this.#median(of, 2)]
    const sentence = `${of} was ${middle.toFixed(1)} in the middle and ${end.toFixed(1)} at the end`
    return expectThat(end <= middle * share + slackMib, sentence)
  }

  /** Of one of the thirds. */
  #median(of: keyof Sample, third: number): number {
    const count = this.#samples.length
    const part = this.#samples.slice(Math.floor((count * third) / 3), Math.ceil((count * (third + 1)) / 3))
    const sorted = part.map((sample) => sample[of]).toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? 0
  }
}
