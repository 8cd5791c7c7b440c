// What tests inside workerd import beside the Worker's own: its bindings, the Worker itself, and the runner's tools.
declare module 'cloudflare:workers' {
  import type { DurableObjectNamespace } from '@cloudflare/workers-types'
  import type { SleepingBell } from '../../src/bell/sleeping-bell.workerd.ts'
  import type { SleepingPeer } from '../../src/live/peer.workerd.ts'
  import type { SleepingSequencer } from '../../src/live/sequencer.workerd.ts'
  export const env: {
    DATABASE_URL: string
    NEON_FETCH_ENDPOINT: string
    CALLPLANE_ADMIN_KEY: string
    CALLPLANE_LONG: string
    STATEMENTS_URL: string
    IS_LONG: boolean
    BELL: DurableObjectNamespace<SleepingBell<object>>
    PEER: DurableObjectNamespace<SleepingPeer<object>>
    SEQUENCER: DurableObjectNamespace<SleepingSequencer<object>>
  }
  export const exports: {
    default: { fetch(request: Request): Promise<Response>; scheduled(controller: object): Promise<void> }
  }
}

declare module 'cloudflare:test' {
  /** Drops the object's memory; its hibernating sockets stay, unless they are to be closed. Rejects where it does not run. */
  export function evictDurableObject(stub: object, options?: { webSockets?: 'close' | 'hibernate' }): Promise<void>
  /** Runs the alarm of the object now; false: none was set. */
  export function runDurableObjectAlarm(stub: object): Promise<boolean>
  /** Runs within the object. */
  export function runInDurableObject<R>(
    stub: object,
    run: (instance: object, state: import('@cloudflare/workers-types').DurableObjectState) => R | Promise<R>,
  ): Promise<R>
}
