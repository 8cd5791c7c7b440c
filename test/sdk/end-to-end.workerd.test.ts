// The suite on Cloudflare: SDK and Worker in workerd, the Durable Object as its bell, the Neon driver to a real database.
import { endToEnd } from './end-to-end.ts'
import { setup } from '../support/worker.ts'

endToEnd(setup)
