// A runner process of the demo's service: serves until it is asked to stop, then finishes what it runs.
import { CallplaneError } from 'callplane'
import { files, plane } from './service.ts'

const stop = async () => {
  await plane.close()
  if (process.connected) process.disconnect()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
process.once('disconnect', stop)
try {
  await files.start()
  process.send?.('ready')
} catch (error) {
  // Asked to stop before it was registered: that is no failure.
  if (!(error instanceof CallplaneError && error.code === 'closed')) throw error
}
