// The demo's service: hashes and compresses what it is sent, and knows one file that it refuses.
import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { Callplane } from 'callplane'

/** An error of the service's own: its name, code, properties and cause arrive at the caller. */
class UnreadableFile extends Error {
  override name = 'UnreadableFile'
  code = 'E_UNREADABLE'
  readonly path: string

  constructor(path: string, cause: Error) {
    super(`cannot read ${path}`, { cause })
    this.path = path
  }
}

export const plane = new Callplane()
export const files = plane.service('demo.files', {
  functions: {
    async pack(bytes: Uint8Array) {
      const startedAt = performance.now()
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const packed = await promisify(gzip)(bytes)
      return { sha256, packed, ms: performance.now() - startedAt, runner: process.pid }
    },

    read(path: string): Uint8Array {
      throw new UnreadableFile(path, new TypeError('the disk of a demo holds nothing'))
    },
  },
  slots: 8,
})
