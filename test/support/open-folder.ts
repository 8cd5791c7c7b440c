// Run by tests as a process of its own: opens an embedded database, inserts a row, and stays until killed.
import { openEmbedded } from '../../src/db/pglite.node.ts'

const [dir = '', url] = process.argv.slice(2)
try {
  const { sql } = await openEmbedded(dir, { url })
  await sql('create table if not exists rows (n int8)')
  await sql('insert into rows values (1)')
  console.log('open')
  process.stdin.resume().once('end', () => process.exit())
} catch (error) {
  console.log(String(error))
}
