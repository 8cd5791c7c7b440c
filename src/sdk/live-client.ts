// Live queries over one link: what this client has registered, what it watches, and how both outlast a cut.
import { CallplaneError } from '../protocol/errors.ts'
import type { Attribute, PeerStatus } from '../protocol/live.ts'
import type { Plan } from '../protocol/plan.ts'
import type { ColumnType } from '../protocol/relations.ts'
import { Backoff } from './backoff.ts'
import type { Body, LiveConnection, Told } from './live-connection.ts'
import { LiveLink } from './live-link.ts'
import { shownBy } from './live-rows.ts'
import type { LiveQuery, LiveRelation, RegisterOptions, RelationOptions } from './live-types.ts'
import { View } from './live-view.ts'
import { Watch, type Callbacks } from './live-watch.ts'
import { checked, signal, test, wrongValue } from './options.ts'
import { untilAnswered } from './retry.ts'
import { Unanswered, type Transport } from './transport.ts'

/** After a reset that no snapshot follows the query is asked for again: if it has ended, the answer says so. */
const SNAPSHOT_MS = 2_000

const callback = test('a function', (value) => typeof value === 'function')
const WATCH_OPTIONS = { signal, onReset: callback, onChange: callback, onError: callback }

export class LiveClient {
  readonly #transport: Transport
  readonly #link: LiveLink
  /** By name, what registers it again. */
  readonly #registered = new Map<string, Body>()
  readonly #views = new Map<string, View>()

  constructor(transport: Transport) {
    this.#transport = transport
    this.#link = new LiveLink(transport, {
      told: (result) => this.#tell(result),
      opened: () => this.#resume(),
      refused: (error) => this.#fail(error),
    })
    transport.ends.add((closed) => this.#close(closed))
  }

  async register<R extends object>(
    name: string,
    { plan, row }: { readonly plan: Plan; readonly row: R },
    options?: RegisterOptions,
  ): Promise<LiveQuery<R>> {
    const body = { Register: { ...options, name, plan } }
    await this.#ask(body)
    this.#registered.set(name, body)
    return { name, plan, row }
  }

  async unregister(name: string): Promise<void> {
    this.#registered.delete(name)
    await this.#ask({ Unregister: { name } }, { orElse: 'not_found' })
  }

  async createRelation<const C extends Record<string, ColumnType>>(
    name: string,
    columns: C,
    options: RelationOptions = {},
  ): Promise<LiveRelation<C>> {
    const list: Attribute['columns'] = Object.entries(columns).map(([name, type]) => ({ name, type }))
    await this.#ask({ CreateAttribute: { name, columns: list, ...options } })
    type Change = readonly [row: object, diff: number]
    const transact = async (...changes: Change[]) => {
      const sent = changes.map(([row, diff]) => ({ relation: name, row, diff }))
      if (sent.length > 0) await this.#ask({ Transact: { changes: sent } }, { isOnce: true })
    }
    return {
      name,
      columns,
      transact,
      insert: (...rows) => transact(...rows.map((row): Change => [row, 1])),
      remove: (...rows) => transact(...rows.map((row): Change => [row, -1])),
    }
  }

  async closeRelation(name: string): Promise<void> {
    await this.#ask({ CloseInput: { name } }, { orElse: 'not_found' })
  }

  async status(): Promise<PeerStatus> {
    return (await this.#ask({ Status: {} })) as PeerStatus // as the wire answers this request alone
  }

  /** Throws what is wrong with the options; whatever comes later is told to the loop or the callbacks. */
  watch(query: LiveQuery<object> | string, options: Callbacks = {}): Watch {
    const { name, plan } = typeof query === 'string' ? { name: query } : query
    if (typeof name !== 'string') throw wrongValue('what is watched', 'a query or its name', query)
    checked('watch', options, WATCH_OPTIONS)
    if (options.onChange && !options.onError) throw wrongValue('onError', 'a function', options.onError)
    if (this.#transport.closed !== null) throw this.#transport.closed
    const view = this.#views.get(name) ?? this.#open(name)
    const release = this.#link.hold()
    return new Watch(view, shownBy(plan), options, () => {
      if (view.viewers.size === 0 && this.#views.delete(name)) {
        this.#link.current?.ask({ Uninterest: { name } }).catch(() => {})
      }
      release()
    })
  }

  #open(name: string): View {
    const view = new View(name)
    this.#views.set(name, view)
    // Else this comes with the connection. Later, because the first viewer is not there yet.
    const { current } = this.#link
    if (current !== undefined) queueMicrotask(() => void this.#follow(view, current))
    return view
  }

  /** One answer, through cuts. `orElse`: what it is when the answer to one that did it was lost. */
  async #ask(body: Body, { isOnce = false, orElse }: { isOnce?: boolean; orElse?: string } = {}) {
    if (this.#transport.closed !== null) throw this.#transport.closed
    const release = this.#link.hold()
    let isRepeated = false
    try {
      return await untilAnswered(this.#transport, async () => {
        const connection = await this.#link.opened()
        try {
          return await connection.ask(body)
        } catch (error) {
          const isRefused = error instanceof CallplaneError || (error as Unanswered).cause instanceof CallplaneError
          if (isRepeated && error instanceof CallplaneError && error.code === orElse) return undefined
          isRepeated ||= !isRefused
          if (isRefused || !isOnce) throw error
          const message = 'the connection was cut before the answer: it may have been done, or not'
          throw new CallplaneError('plane_unreachable', message, { cause: error })
        }
      })
    } finally {
      release()
    }
  }

  #tell(result: Told): void {
    if ('Snapshot' in result) {
      const [name, rows, tick] = result.Snapshot
      this.#views.get(name)?.snapshot(rows, tick)
    } else if ('QueryDiff' in result) {
      const [name, changes, tick] = result.QueryDiff
      this.#views.get(name)?.change(changes, tick)
    } else if ('Progress' in result) {
      const [name, tick] = result.Progress
      this.#views.get(name)?.progress(tick)
    } else if ('Reset' in result) {
      const [name, reason] = result.Reset
      const view = this.#views.get(name)
      if (view !== undefined) this.#reset(view, reason)
    } else {
      const { failed, reason } = result
      for (const view of this.#views.values()) {
        if (view.interest !== failed) continue
        if (reason instanceof Unanswered) this.#reset(view, reason.message)
        else view.fail(reason)
      }
    }
  }

  #reset(view: View, reason: string): void {
    view.reset(reason)
    const { current } = this.#link
    setTimeout(() => {
      if (view.isVoid && current !== undefined && current === this.#link.current) void this.#follow(view, current)
    }, SNAPSHOT_MS)
  }

  /** After a cut: what this client has registered and watches is told again. */
  #resume(): void {
    const { current } = this.#link
    if (current === undefined) return
    for (const [name, body] of this.#registered) {
      if (!this.#views.has(name)) current.ask(body).catch(() => {})
    }
    for (const view of this.#views.values()) void this.#follow(view, current, this.#registered.get(view.name))
  }

  /** Asks for a view, from where it is, until this connection ends. Never rejects. */
  async #follow(view: View, connection: LiveConnection, registers?: Body): Promise<void> {
    const backoff = new Backoff(this.#transport.budget)
    const { name } = view
    while (connection === this.#link.current && this.#views.get(name) === view) {
      try {
        if (registers !== undefined) await connection.ask(registers)
        if (this.#views.get(name) !== view) return
        const from = view.isVoid ? {} : { from: view.tick }
        view.interest = connection.newId()
        await connection.ask({ Interest: { name, ...from } }, view.interest)
        return
      } catch (error) {
        if (!(error instanceof Unanswered)) return view.fail(error)
        await this.#transport.pause(backoff.failed(0)).catch(() => {})
      }
    }
  }

  #fail(error: CallplaneError): void {
    for (const view of this.#views.values()) view.fail(error)
  }

  #close(closed: CallplaneError): void {
    for (const view of this.#views.values()) view.end()
    this.#link.close(closed)
  }
}
