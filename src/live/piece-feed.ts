// How one peer hears of a piece that another holds: over the wire of live queries, or in the same process.
import { CallplaneError } from '../protocol/errors.ts'
import type { LiveResult } from '../protocol/live.ts'
import type { Interest, Reach } from './audience.ts'
import { refusalOf } from './fault.ts'

/** `from`: where the asker is. `tick`: where the holder must be, so that it has the same queries. */
export type PieceRequest = Required<Pick<Interest, 'name' | 'piece' | 'tick'>> & Pick<Interest, 'from'>

export interface Feed {
  /** Nothing is told from here on. */
  close(): void
}

export interface Hear {
  told(result: LiveResult): void
  /** It tells nothing any more. Called once at most, and never before the feed has been given. */
  failed(error: CallplaneError): void
}

/** A WebSocket to another peer, as a runtime opens it. */
export type Dial = (
  url: string,
  events: { opened: () => void; frame: (text: string) => void; closed: (reason: string) => void },
) => { send(frame: string): void; close(): void }

/** Of another peer: `ticket` lets this one in there. `lost`: the connection, not the request, has failed. */
export function remoteFeed(
  { address, ticket, dial, lost }: { address: string; ticket: Promise<string>; dial: Dial; lost: () => void },
  request: PieceRequest,
  hear: Hear,
): Feed {
  let isOver = false
  const fail = (error: CallplaneError): void => {
    if (isOver) return
    isOver = true
    wire?.close()
    hear.failed(error)
  }
  const cut = (reason: string): void => {
    if (isOver) return
    lost()
    fail(new CallplaneError('closed', `the peer at ${address} is not reached: ${reason}`))
  }
  let wire: ReturnType<Dial> | null = null
  const take = (text: string): void => {
    const result = JSON.parse(text) as LiveResult // from a peer of ours
    if (!('Error' in result)) return hear.told(result)
    const [id, code, message] = result.Error
    if (id === 'piece') fail(new CallplaneError(code, message))
    else cut(message)
  }
  const open = (peer: string): void => {
    if (isOver) return
    wire = dial(`${address.replace(/^http/, 'ws')}/v1/live`, {
      opened: () =>
        wire?.send(
          JSON.stringify([
            { id: 'peer', Auth: { peer } },
            { id: 'piece', Interest: request },
          ]),
        ),
      frame(text) {
        // Whatever listens there may be no peer at all.
        try {
          if (!isOver) take(text)
        } catch (error) {
          cut(String(error))
        }
      },
      closed: cut,
    })
  }
  ticket.then(open).catch((error: unknown) => cut(String(error)))
  return {
    close() {
      isOver = true
      wire?.close()
    },
  }
}

/** Of this peer itself. */
export function localFeed(
  { listen, leave }: { listen: (reach: Reach, interest: Interest) => Promise<void>; leave: (reach: Reach) => void },
  request: PieceRequest,
  hear: Hear,
): Feed {
  let isOver = false
  const fail = (error: CallplaneError): void => {
    if (isOver) return
    isOver = true
    hear.failed(error)
  }
  const reach: Reach = {
    isPeer: true,
    unreadBytes: 0,
    get isOver() {
      return isOver
    },
    send(frame) {
      if (isOver) return
      const result = JSON.parse(frame) as LiveResult // of this peer
      if ('Error' in result) fail(new CallplaneError(result.Error[1], result.Error[2]))
      else hear.told(result)
    },
  }
  listen(reach, { id: 'piece', ...request }).catch((error: unknown) => fail(refusalOf(error)))
  return {
    close() {
      isOver = true
      leave(reach)
    },
  }
}
