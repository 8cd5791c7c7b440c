// The model of what is known beside jobs: keys and functions. Rows of runners are for people to read: no transition asks
// for them, and the model keeps none.
import type { Row } from '../../../src/db/sql.ts'
import { json, list, text, type Statement } from './statement.ts'

export const findKey: Statement = {
  name: 'find key',
  marks: ['from callplane.keys', 'revoked_at is null'],
  begin(run) {
    const key = run.tables.keys.get(text(run, 1))
    const { namespace, secret_hash, grants } = key ?? { namespace: '', secret_hash: new Uint8Array(), grants: '[]' }
    const rows: Row[] = key === undefined ? [] : [{ namespace, secret_hash, grants: json(JSON.parse(grants)) }]
    return () => rows
  },
}

export const register: Statement = {
  name: 'register',
  marks: ['insert into callplane.runners', 'insert into callplane.functions'],
  begin(run) {
    const namespace = text(run, 1)
    const names = list<string>(run, 7)
    const policies = list<string>(run, 8)
    const services = list<string>(run, 6)
    return () => {
      for (const [index, service] of services.entries()) {
        const policy = JSON.parse(policies[index] ?? '{}') as Record<string, unknown> // as registerRunner writes it
        run.tables.functions.set(`${namespace}/${service}/${names[index]}`, policy)
      }
      return []
    }
  },
}

export const leave: Statement = {
  name: 'leave',
  marks: ['update callplane.runners set left_at = now()'],
  begin: () => () => [],
}

export const see: Statement = {
  name: 'see',
  marks: ['update callplane.runners set seen_at = now()'],
  begin: () => () => [],
}

export const forgetRunners: Statement = {
  name: 'forget runners',
  marks: ['delete from callplane.runners'],
  begin: () => () => [],
}
