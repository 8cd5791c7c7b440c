// The Worker, and beside it what a measurement of waking needs: objects fall asleep when they are told to, and forget.
//
//   /live/N            a socket to the peer N
//   /sleep/N?space=X   the peer and the sequencer of the namespace are asleep; with &forget, without a checkpoint
import type { DurableObjectNamespace } from '@cloudflare/workers-types'
import worker, { PeerObject as Peer, type Env } from '../../src/worker.ts'

export { BellObject, SequencerObject } from '../../src/worker.ts'

interface Unsafe {
  /** What is awake goes to sleep once it has nothing more to do. */
  evict(stub: object, options: { webSockets: 'hibernate' }): Promise<void>
}

/** The flag `unsafe_module` brings it; what bundles the Worker would look for it on the disk. */
const UNSAFE: string = 'workerd:unsafe'

export class PeerObject extends Peer {
  forget(): void {
    this.ctx.storage.sql.exec('delete from checkpoints')
  }
}

export default {
  ...worker,
  async fetch(request: Request, env: Env, ctx: Parameters<typeof worker.fetch>[2]): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    const [, kind, n] = /^\/(live|sleep)\/(\d+)$/.exec(pathname) ?? []
    const peer = (env.PEER as unknown as DurableObjectNamespace<PeerObject>).getByName(`peer-${n}`) // the class above
    if (kind === 'live') return peer.fetch(request as never) as never // workerd's own, of which the DOM library has others
    if (kind !== 'sleep') return worker.fetch(request, env, ctx)
    const sequencer = env.SEQUENCER.getByName(searchParams.get('space') ?? '')
    const { default: unsafe } = (await import(UNSAFE)) as { default: Unsafe } // as workerd has it
    // One that sleeps already cannot be told to.
    const sleeps = (object: object) => unsafe.evict(object, { webSockets: 'hibernate' }).catch(() => {})
    await sleeps(peer)
    if (searchParams.has('forget')) {
      await peer.forget()
      await sleeps(peer)
    }
    await sleeps(sequencer)
    return new Response()
  },
}
