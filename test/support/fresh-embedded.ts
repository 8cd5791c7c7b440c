// An empty embedded database of a test process: a copy of the one of this run, which takes a third of the time of a new one.
import { PGlite } from '@electric-sql/pglite'
import { inject } from 'vitest'
import { embedded, type EmbeddedDatabase } from '../../src/db/pglite.node.ts'

export async function freshEmbedded(): Promise<EmbeddedDatabase> {
  const answer = await fetch(inject('emptyDatabase'))
  if (!answer.ok) throw new Error(await answer.text())
  return embedded(await PGlite.create({ loadDataDir: await answer.blob() }))
}
