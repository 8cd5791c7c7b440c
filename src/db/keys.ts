// Keys and namespaces in the database. Grants pass as JSON: who may do what is the business of the layers above.
import type { Json, Sql } from './sql.ts'

export interface StoredKey {
  id: string
  namespace: string
  secretHash: Uint8Array
  grants: Json
}

/** A key that has not been revoked, by its public id; null where there is none. */
export async function findKey(sql: Sql, id: string): Promise<StoredKey | null> {
  const [row] = await sql<{ namespace: string; secret_hash: Uint8Array; grants: Json }>(
    /* sql */ `
    select namespace, secret_hash, grants from callplane.keys
    where id = $1 and revoked_at is null`,
    [id],
  )
  return row === undefined ? null : { id, namespace: row.namespace, secretHash: row.secret_hash, grants: row.grants }
}

/** Keeps a new key, and makes its namespace if need be. A key kept twice is the same row. */
export async function insertKey(sql: Sql, key: StoredKey & { name: string | null }): Promise<void> {
  await sql(
    /* sql */ `
    insert into callplane.namespaces (name) values ($1)
    on conflict (name) do nothing`,
    [key.namespace],
  )
  await sql(
    /* sql */ `
    insert into callplane.keys (id, namespace, name, secret_hash, grants)
    values ($1, $2, $3, $4::bytea, $5::jsonb)
    on conflict (id) do nothing`,
    [key.id, key.namespace, key.name, key.secretHash, JSON.stringify(key.grants)],
  )
}

export interface ListedKey {
  id: string
  name: string | null
  grants: Json
  createdAtMs: number
  isRevoked: boolean
}

export async function listKeys(sql: Sql, namespace: string): Promise<ListedKey[]> {
  const rows = await sql<{ id: string; name: string | null; grants: Json; created_at_ms: number; is_revoked: boolean }>(
    /* sql */ `
    select id, name, grants, (extract(epoch from created_at) * 1000)::int8 as created_at_ms,
      revoked_at is not null as is_revoked
    from callplane.keys
    where namespace = $1
    order by created_at, id
    limit 10000`,
    [namespace],
  )
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    grants: row.grants,
    createdAtMs: row.created_at_ms,
    isRevoked: row.is_revoked,
  }))
}

/** Revokes a key of the namespace; false where it has none by this id. Revoking twice is the same. */
export async function revokeKey(sql: Sql, namespace: string, id: string): Promise<boolean> {
  const rows = await sql<{ id: string }>(
    /* sql */ `
    update callplane.keys set revoked_at = coalesce(revoked_at, now())
    where namespace = $1 and id = $2
    returning id`,
    [namespace, id],
  )
  return rows.length > 0
}
