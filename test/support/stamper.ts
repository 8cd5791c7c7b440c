// A process that stamps a namespace until it is killed: node stamper.ts URL NAMESPACE
import { pgSql } from '../../src/db/pg.ts'
import { stampEvents, takeHead } from '../../src/live/stamp.ts'

const [url = '', namespace = ''] = process.argv.slice(2)
const { sql } = pgSql({ connectionString: url, max: 1 })
const holder = crypto.randomUUID()
const leaseMs = 300
process.stdout.write('begun\n')
for (;;) {
  const stamper = await takeHead(sql, namespace, holder, { leaseMs })
  if (stamper === null) {
    await new Promise((resolve) => setTimeout(resolve, 20))
    continue
  }
  process.stdout.write(`epoch ${stamper.epoch}\n`)
  // Fenced, it says so, and begins anew: a zombie among the living.
  while ((await stampEvents(sql, stamper, { limit: 50, leaseMs })) !== null) {
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  process.stdout.write('fenced\n')
}
