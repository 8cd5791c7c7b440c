// Programs that end by themselves: what they leave behind would keep the process alive, or end it with an error.
import { Callplane } from 'callplane'

const PROGRAMS: Record<string, (plane: Callplane) => Promise<void>> = {
  /** Serves, calls, closes. */
  async 'serves and closes'(plane) {
    const greeter = plane.service('greeter', { functions: { hello: (name: string) => `hello ${name}` } })
    await greeter.start()
    console.log(await plane.client<typeof greeter>('greeter').hello('Ada'))
    await plane.close()
  },

  /** Only calls, and never closes: nothing is open once it has its answers. */
  async 'calls and forgets to close'(plane) {
    const call = await plane.client('nobody')['later']?.start()
    console.log((await call?.status())?.state)
  },

  /** Closes while a call waits. */
  async 'closes what waits'(plane) {
    const waiting = plane.client('nobody')['ever']?.()
    setTimeout(() => void plane.close(), 200)
    console.log(await waiting?.catch((error: unknown) => (error as { code: string }).code))
  },

  /** Nobody answers at its URL. */
  async 'finds nobody'() {
    const plane = new Callplane({ url: 'http://127.0.0.1:9', key: 'cp_none' })
    const call = plane.client('greeter')['hello']?.with({ deadlineMs: 400 })('Ada')
    console.log(await call?.catch((error: unknown) => (error as { code: string }).code))
    const service = plane.service('greeter', { functions: { hello: () => 1 } })
    const started = service.start().catch((error: unknown) => (error as { code: string }).code)
    await plane.close()
    console.log(await started)
  },

  /** Watches where nobody answers, until it has enough. */
  async 'watches nobody'() {
    const plane = new Callplane({ url: 'http://127.0.0.1:9', key: 'cp_none' })
    const stop = plane.live.watch('queues', { onChange: () => {}, onError: console.log })
    const loop = plane.live.watch('queues', { signal: AbortSignal.timeout(400) })
    console.log(await loop.next().catch((error: unknown) => (error as Error).name))
    stop()
  },
}

await PROGRAMS[process.argv[2] ?? '']?.(new Callplane())
