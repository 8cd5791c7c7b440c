// The model of what is known beside jobs: keys, functions, and of runners only when they are forgotten: no transition asks
// for them.
import type { Row } from '../../../src/db/sql.ts'
import { integer, json, list, text, type Statement } from './statement.ts'

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
    const runner = `${namespace}/${text(run, 2)}`
    return () => {
      run.tables.runners.set(runner, { seenAtMs: run.nowMs, leftAtMs: null })
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
  begin(run) {
    const { tables, nowMs } = run
    const key = `${text(run, 1)}/${text(run, 2)}`
    return () => {
      const runner = tables.runners.get(key)
      if (runner?.leftAtMs === null) tables.runners.set(key, { ...runner, leftAtMs: nowMs })
      return []
    }
  },
}

export const see: Statement = {
  name: 'see',
  marks: ['update callplane.runners set seen_at = now()'],
  begin(run) {
    const { tables, nowMs } = run
    const key = `${text(run, 1)}/${text(run, 2)}`
    return () => {
      const runner = tables.runners.get(key)
      if (runner !== undefined) tables.runners.set(key, { ...runner, seenAtMs: nowMs })
      return []
    }
  },
}

export const forgetRunners: Statement = {
  name: 'forget runners',
  marks: ['delete from callplane.runners'],
  begin(run) {
    const { tables, nowMs } = run
    const beforeMs = nowMs - integer(run, 1)
    return () => {
      const old = [...tables.runners].filter(([, { seenAtMs, leftAtMs }]) => (leftAtMs ?? seenAtMs) <= beforeMs)
      for (const [key] of old.slice(0, integer(run, 2))) {
        tables.runners.delete(key)
        tables.forgotten.push(nowMs)
      }
      return []
    }
  },
}
