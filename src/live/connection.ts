// What a peer knows of a transport: frames come, frames go, and how many bytes the other side has not taken yet.

/** One client's connection, as a transport gives it. */
export interface Connection {
  /** Queues a frame, in order. Never throws. */
  send(frame: string): void
  /** Bytes queued and not yet taken by the network. */
  readonly bufferedBytes: number
  /** Ends it; what is queued is sent before, if the other side takes it soon. */
  close(reason: string): void
}

/** What the transport tells the peer about its connection. Nothing here throws, whatever the client sent. */
export interface Receiver {
  /** A whole frame: JSON as text, or msgpack. */
  receive(frame: string | Uint8Array): void
  /**
   * What came is no frame: too long, not UTF-8, or binary where no msgpack is spoken. The client is told why; the transport then
   * closes.
   */
  refuse(code: 'invalid_request' | 'payload_too_large', message: string): void
  /** The network has taken what was queued. */
  drained(): void
  closed(): void
}

/** Takes the connections of all transports. */
export interface Acceptor {
  /** `key`: of a cookie that the transport has found and whose origin it has checked; else the first frame brings it. */
  accept(connection: Connection, options?: { key?: string }): Receiver
}
