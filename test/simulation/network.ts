// The network of the world: `fetch` of every process, with a fate for each message.
//
//   client ── request ──▶ plane's handler ── answer, or chunks ──▶ client
//      ▲ lost · late · twice · refused by a proxy      ▲ lost after the commit · cut in the middle
//
// A request's signal aborts at the plane only where the client's end is certainly over: its connection is closed, and
// whatever the plane answers from then on reaches nobody.
import type { Fetch } from '../../src/sdk/transport.ts'
import type { Faults } from './faults.ts'
import type { Random } from './random.ts'
import type { Process, Scheduler } from './scheduler.ts'

/** A plane that requests can be sent to. */
export interface Host {
  readonly process: Process
  readonly exchanges: Set<Exchange>
  handle(request: Request): Response | Promise<Response>
}

type Fate = 'deliver' | 'drop request' | 'drop answer' | 'duplicate' | 'reset' | 'refuse'

export class Network {
  readonly scheduler: Scheduler
  readonly random: Random
  faults: Faults['network']
  /** Called for each message, for the trace. */
  readonly note: (text: string) => void
  readonly #route: () => Host

  constructor(
    scheduler: Scheduler,
    random: Random,
    faults: Faults['network'],
    { route, note }: { route: () => Host; note: (text: string) => void },
  ) {
    this.scheduler = scheduler
    this.random = random
    this.faults = faults
    this.note = note
    this.#route = route
  }

  wayMs(): number {
    const { latencyMs, delay } = this.faults
    return this.random.chance(delay) ? this.random.int(500, 8_000) : this.random.int(...latencyMs)
  }

  fetchOf(client: Process): Fetch {
    return (url, init) => {
      if (init.signal?.aborted === true) return Promise.reject(init.signal.reason as Error)
      const exchange = new Exchange(this, client, this.#route(), url, init)
      exchange.start(this.#fate())
      return exchange.answer
    }
  }

  #fate(): Fate {
    const { dropRequest, dropAnswer, duplicate, reset, refuse } = this.faults
    let left = this.random.next()
    if ((left -= dropRequest) < 0) return 'drop request'
    if ((left -= dropAnswer) < 0) return 'drop answer'
    if ((left -= duplicate) < 0) return 'duplicate'
    if ((left -= reset) < 0) return 'reset'
    return left - refuse < 0 ? 'refuse' : 'deliver'
  }
}

/** One request and its answer. */
export class Exchange {
  readonly answer: Promise<Response>
  readonly #network: Network
  readonly #client: Process
  readonly #host: Host
  readonly #url: string
  readonly #init: RequestInit
  #resolve!: (response: Response) => void
  #reject!: (error: unknown) => void
  /** The client's end is over: it was answered, or cut. */
  #isOver = false
  /** The answer, while it streams. */
  #stream: ReadableStreamDefaultController<Uint8Array> | null = null
  /** Chunks keep their order. */
  #lastAtMs = 0
  readonly #controllers: AbortController[] = []
  readonly #readers: ReadableStreamDefaultReader<Uint8Array>[] = []

  constructor(network: Network, client: Process, host: Host, url: string, init: RequestInit) {
    this.#network = network
    this.#client = client
    this.#host = host
    this.#url = url
    this.#init = init
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    host.exchanges.add(this)
    init.signal?.addEventListener('abort', () => this.#clientAborts(init.signal?.reason), { once: true })
  }

  start(fate: Fate): void {
    const network = this.#network
    const { random } = network
    if (fate !== 'deliver') network.note(`${fate}: ${this.#client.name} ${this.#url}`)
    switch (fate) {
      case 'drop request':
        return this.#lose(network.wayMs())
      case 'refuse':
        if (random.chance(0.5)) this.#deliver(network.wayMs(), { isHeard: false, closesInMs: random.int(0, 100) })
        return this.#toClient(network.wayMs() + random.int(0, 100), () => {
          this.#settle(new Response('not the plane', { status: random.pick([500, 502, 503]) }))
        })
      case 'drop answer':
        return this.#deliver(network.wayMs(), { isHeard: false, isLost: true })
      case 'duplicate':
        // A proxy sends it again. Of the first it may have closed the connection, and then the plane knows.
        if (random.chance(0.5)) this.#deliver(network.wayMs(), { isHeard: false, closesInMs: random.int(0, 3_000) })
        else this.#deliver(network.wayMs(), { isHeard: false })
        return this.#deliver(network.wayMs() + random.int(0, 500), { isHeard: true })
      case 'reset':
        this.#deliver(network.wayMs(), { isHeard: true })
        return void network.scheduler.after(
          random.chance(0.5) ? random.int(0, 60) : random.int(0, 25_000),
          null,
          () => {
            this.cut()
          },
        )
      case 'deliver':
        return this.#deliver(network.wayMs(), { isHeard: true })
    }
  }

  /** The connection ends, for both sides. */
  cut(): void {
    if (this.#isOver) return
    this.#lose(0)
    this.#hangUp()
  }

  /** `closesInMs`: the plane's side is closed then. `isLost`: the client learns that there will be no answer. */
  #deliver(
    inMs: number,
    { isHeard, isLost = false, closesInMs }: { isHeard: boolean; isLost?: boolean; closesInMs?: number },
  ): void {
    const { scheduler } = this.#network
    const host = this.#host
    scheduler.after(inMs, null, () => {
      if (host.process.isDead) {
        if (isHeard || isLost) this.#lose(this.#network.wayMs())
        return
      }
      // The client has gone before the request arrived: so it does in part of the cases.
      if (this.#isOver && this.#network.random.chance(0.5)) return
      const controller = new AbortController()
      if (isHeard || isLost) this.#controllers.push(controller)
      const { method = 'GET', headers, body } = this.#init
      const request = new Request(this.#url, {
        method,
        headers: headers ?? {},
        body: body ?? null,
        signal: controller.signal,
      })
      const close = () => scheduler.within(host.process, () => controller.abort())
      if (closesInMs !== undefined) scheduler.after(closesInMs, host.process, close)
      scheduler.within(host.process, () => void this.#handle(request, isHeard, isLost))
    })
  }

  /** Runs as the plane: it ends where the plane dies. */
  async #handle(request: Request, isHeard: boolean, isLost: boolean): Promise<void> {
    const response = await this.#host.handle(request)
    if (isLost) this.#lose(this.#network.wayMs())
    if (!isHeard) return
    if (response.body === null || !response.headers.has('x-accel-buffering')) {
      return this.#toClient(this.#network.wayMs(), () => this.#settle(response))
    }
    const reader = (response.body as ReadableStream<Uint8Array>).getReader() // fetch's own type leaves the chunks open
    this.#readers.push(reader)
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#stream = controller
      },
      cancel: () => this.#clientAborts(undefined),
    })
    const { status, headers } = response
    this.#toClient(this.#network.wayMs(), () => this.#settle(new Response(stream, { status, headers }), true))
    try {
      for (;;) {
        const { done, value } = await reader.read()
        if (done) break
        this.#toClient(this.#network.wayMs(), () => this.#stream?.enqueue(value))
      }
      this.#toClient(this.#network.wayMs(), () => {
        this.#end()
        this.#stream?.close()
      })
    } catch {
      this.#lose(this.#network.wayMs())
    }
  }

  #toClient(inMs: number, run: () => void): void {
    const { scheduler } = this.#network
    this.#lastAtMs = Math.max(this.#lastAtMs, scheduler.nowMs + inMs)
    scheduler.after(this.#lastAtMs - scheduler.nowMs, this.#client, () => {
      if (!this.#isOver) run()
    })
  }

  #settle(response: Response, isStream = false): void {
    if (!isStream) this.#end()
    this.#resolve(response)
  }

  #end(): void {
    this.#isOver = true
    this.#host.exchanges.delete(this)
  }

  /** No more is heard of the plane: the client is told, or it hears nothing at all. */
  #lose(inMs: number): void {
    const { random, faults, scheduler } = this.#network
    if (random.chance(faults.silence)) return
    scheduler.after(inMs, this.#client, () => {
      if (this.#isOver) return
      this.#end()
      const error = new TypeError('fetch failed', { cause: new Error('simulated: the connection was reset') })
      this.#reject(error)
      this.#stream?.error(error)
    })
  }

  #clientAborts(reason: unknown): void {
    if (this.#isOver) return
    this.#end()
    this.#reject(reason)
    this.#stream?.error(reason)
    this.#hangUp()
  }

  /** The plane learns that nobody listens. */
  #hangUp(): void {
    const { scheduler, random } = this.#network
    const { process } = this.#host
    // Where messages are lost in silence, connections stay half open too: then it never does.
    if (random.chance(this.#network.faults.silence / 5)) return
    scheduler.after(this.#network.wayMs(), process, () => {
      for (const controller of this.#controllers) controller.abort()
      for (const reader of this.#readers) void reader.cancel().catch(() => {})
    })
  }
}
