// The table of imports holds in src, and the check of it finds what breaks it.
import { describe, expect, test } from 'vitest'
import { importFaults, importsOf } from './import-rules.ts'
import { sourceTree } from './repository.ts'

test('src keeps the table of imports, without a cycle', () => {
  expect(importFaults(sourceTree())).toEqual([])
})

describe('the check finds', () => {
  const PLANTED: Record<string, { files: Record<string, string>; fault: string }> = {
    'a part that reaches up': {
      files: { 'src/jobs/claim.ts': `import { app } from '../http/app.ts'`, 'src/http/app.ts': '' },
      fault: 'src/jobs/claim.ts imports ../http/app.ts: jobs may import protocol, db',
    },
    'a part that may import nothing of ours': {
      files: { 'src/protocol/job.ts': `import type { Sql } from '../db/sql.ts'`, 'src/db/sql.ts': '' },
      fault: 'src/protocol/job.ts imports ../db/sql.ts: protocol may import nothing of ours',
    },
    'the SDK in the server': {
      files: { 'src/http/calls.ts': `export * from '../sdk/index.ts'`, 'src/sdk/index.ts': '' },
      fault: 'src/http/calls.ts imports ../sdk/index.ts: http may import protocol, db, jobs, live, bell',
    },
    'a database in the command line': {
      files: { 'src/cli/dev.ts': `await import('../db/sql.ts')`, 'src/db/sql.ts': '' },
      fault: 'src/cli/dev.ts imports ../db/sql.ts: cli may import sdk, protocol, node.ts',
    },
    'an unknown part': {
      files: { 'src/utils/text.ts': `import '../db/sql.ts'`, 'src/db/sql.ts': '' },
      fault: 'src/utils/text.ts imports ../db/sql.ts: the table has no utils',
    },
    'an entry imported by a part': {
      files: { 'src/http/app.ts': `import { listen } from '../node.ts'`, 'src/node.ts': '' },
      fault: 'src/http/app.ts imports ../node.ts: nothing imports an entry',
    },
    'a platform file in a file of no platform': {
      files: { 'src/db/neon.ts': `import { open } from './pglite.node.ts'`, 'src/db/pglite.node.ts': '' },
      fault: 'src/db/neon.ts imports ./pglite.node.ts: only the node entry and *.node.ts may',
    },
    'a file of the other platform': {
      files: { 'src/worker.ts': `import { open } from './db/pglite.node.ts'`, 'src/db/pglite.node.ts': '' },
      fault: 'src/worker.ts imports ./db/pglite.node.ts: only the node entry and *.node.ts may',
    },
    'a module of Node': {
      files: { 'src/http/body.ts': `import { Buffer } from 'node:buffer'` },
      fault: 'src/http/body.ts imports node:buffer: only the Node entry, *.node.ts and cli may',
    },
    'a module of Node in the SDK, only its types': {
      files: { 'src/sdk/call.ts': `type Store = import('node:async_hooks').AsyncLocalStorage<string>` },
      fault: 'src/sdk/call.ts imports node:async_hooks: only the Node entry, *.node.ts and cli may',
    },
    'a module of Node that the Worker must not have': {
      files: { 'src/worker.ts': `import { readFileSync } from 'node:fs'` },
      fault: 'src/worker.ts imports node:fs: only the Node entry, *.node.ts and cli may',
    },
    'a module of workerd': {
      files: { 'src/bell/bell.ts': `import { DurableObject } from 'cloudflare:workers'` },
      fault: 'src/bell/bell.ts imports cloudflare:workers: only the Cloudflare entry and *.workerd.ts may',
    },
    'a type of Cloudflare': {
      files: { 'src/http/app.ts': `import type { Fetcher } from '@cloudflare/workers-types'` },
      fault:
        'src/http/app.ts imports @cloudflare/workers-types: only the Cloudflare entry, *.workerd.ts and *.d.ts may, as types',
    },
    'a package in a part that has none': {
      files: { 'src/sdk/call.ts': `export { decode } from '@msgpack/msgpack'` },
      fault: 'src/sdk/call.ts imports @msgpack/msgpack: sdk may import no package',
    },
    'a package of another part': {
      files: { 'src/http/app.ts': `import { Pool } from 'pg/lib/pool'` },
      fault: 'src/http/app.ts imports pg/lib/pool: http may import hono',
    },
    'a file that is not there': {
      files: { 'src/jobs/claim.ts': `import { end } from './end.ts'` },
      fault: 'src/jobs/claim.ts imports ./end.ts: there is no src/jobs/end.ts in src',
    },
    'a way out of src': {
      files: { 'src/jobs/claim.ts': `import wire from '../../package.json'` },
      fault: 'src/jobs/claim.ts imports ../../package.json: there is no package.json in src',
    },
    'a cycle through types': {
      files: {
        'src/jobs/claim.ts': `import { end } from './end.ts'`,
        'src/jobs/end.ts': `export { type Lease } from './lease.ts'`,
        'src/jobs/lease.ts': `import type { Claim } from './claim.ts'`,
      },
      fault: 'a cycle: src/jobs/claim.ts → src/jobs/end.ts → src/jobs/lease.ts → src/jobs/claim.ts',
    },
    'a file that imports itself': {
      files: { 'src/jobs/claim.ts': `import { claim } from './claim.ts'` },
      fault: 'a cycle: src/jobs/claim.ts → src/jobs/claim.ts',
    },
  }

  for (const [name, { files, fault }] of Object.entries(PLANTED)) {
    test(name, () => {
      expect(importFaults(new Map(Object.entries(files)))).toEqual([fault])
    })
  }
})

test('the check lets pass what the table allows', () => {
  const files = {
    'src/protocol/wire.ts': `import { encode } from '@msgpack/msgpack'`,
    'src/db/sql.ts': '',
    'src/db/pglite.node.ts': `import { join } from 'node:path'; import { PGlite } from '@electric-sql/pglite'`,
    'src/jobs/claim.ts': `import '../db/sql.ts'; import '../protocol/wire.ts'`,
    'src/bell/object.workerd.ts': `import { DurableObject } from 'cloudflare:workers'`,
    'src/http/app.ts': `import { cors } from 'hono/cors'; import '../jobs/claim.ts'`,
    'src/node.ts': `import '@hono/node-server'; import './http/app.ts'; import './db/pglite.node.ts'`,
    'src/worker.ts': `import { AsyncLocalStorage } from 'node:async_hooks'; import './bell/object.workerd.ts'`,
    'src/sdk/index.ts': `import '../protocol/wire.ts'`,
    'src/sdk/store.ts': `const store = (name: string) => import(name)`,
    'src/cli/dev.ts': `import { join } from 'node:path'; import '../node.ts'; import '../sdk/index.ts'`,
  }
  expect(importFaults(new Map(Object.entries(files)))).toEqual([])
})

test('text that looks like an import is none', () => {
  const text = ['// import "a"', 'const help = `', "import b from 'b'", '`', `const c = "import('c')"`].join('\n')
  expect(importsOf(text)).toEqual([])
})
