// A runner process of the demo's service: serves until it is asked to stop, then finishes what it runs.
import { files, plane } from './service.ts'

const stop = async () => {
  await plane.close()
  if (process.connected) process.disconnect()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
process.once('disconnect', stop)
await files.start()
process.send?.('ready')
