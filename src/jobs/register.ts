// Runners come and go, and bring the policies of their functions. No job changes here.
import type { Sql } from '../db/sql.ts'
import type { RegisterRunner } from '../protocol/runners.ts'
import type { FunctionPolicy } from '../protocol/policy.ts'
import { storedRetry } from './retry.ts'

/** What who watches sees of a runner. */
const RUNNER_COLUMNS = /* sql fragment */ `id, host, sdk, joined_at, left_at`

const PUT_RUNNER = /* sql fragment */ `jsonb_build_object('command', jsonb_build_object('Put', jsonb_build_object(
  'relation', 'runners', 'row', jsonb_build_object('id', id, 'host', host, 'sdk', sdk,
    'joined_at', floor(extract(epoch from joined_at) * 1000)::int8,
    'left_at', floor(extract(epoch from left_at) * 1000)::int8))))`

/** Makes a runner and its functions known. Jobs made from now on copy these policies; the last registration holds. */
export async function registerRunner(sql: Sql, namespace: string, runner: RegisterRunner): Promise<void> {
  const functions = runner.services.flatMap((service) =>
    service.functions.map(({ name, policy }) => ({ service: service.name, name, policy: storedPolicy(policy ?? {}) })),
  )
  // In the order of their keys, so that runners that register together do not deadlock; and rows that would not change
  // are left alone, so that a fleet that restarts writes nothing.
  await sql(
    /* sql */ `
    with runner as (
      insert into callplane.runners (namespace, id, host, sdk, services)
      values ($1, $2::uuid, $3, $4, $5::jsonb)
      on conflict (namespace, id)
        do update set host = excluded.host, sdk = excluded.sdk, services = excluded.services, seen_at = now(), left_at = null
      returning ${RUNNER_COLUMNS}
    ), served as (
      insert into callplane.functions as f (namespace, service, name, policy)
      select $1, s.service, s.name, s.policy::jsonb
      from unnest($6::text[], $7::text[], $8::text[]) as s (service, name, policy)
      order by s.service, s.name
      on conflict (namespace, service, name)
        do update set policy = excluded.policy, registered_at = now() where f.policy <> excluded.policy
      returning service, name
    )
    insert into callplane.events (namespace, subject_id, command)
    select $1, id, ${PUT_RUNNER} from runner
    union all
    select $1, $2::uuid, jsonb_build_object('command', jsonb_build_object('Put', jsonb_build_object('relation', 'services',
      'row', jsonb_build_object('service', service, 'function', name)))) from served`,
    [
      namespace,
      runner.runner,
      runner.host ?? null,
      runner.sdk ?? null,
      JSON.stringify(runner.services.map(({ name, slots }) => ({ name, slots }))),
      functions.map((row) => row.service),
      functions.map((row) => row.name),
      functions.map((row) => JSON.stringify(row.policy)),
    ],
  )
}

function storedPolicy({ retry, ...rest }: FunctionPolicy) {
  return retry === undefined ? rest : { ...rest, retry: storedRetry(retry) }
}

/** The runner is at work: it stays known. */
export async function seeRunner(sql: Sql, namespace: string, id: string): Promise<void> {
  await sql(/* sql */ `update callplane.runners set seen_at = now() where namespace = $1 and id = $2::uuid`, [
    namespace,
    id,
  ])
}

/** Marks a runner as gone. What it still runs stays its own until the leases end. */
export async function leaveRunner(sql: Sql, namespace: string, id: string): Promise<void> {
  await sql(
    /* sql */ `
    with runner as (
      update callplane.runners set left_at = now()
      where namespace = $1 and id = $2::uuid and left_at is null
      returning ${RUNNER_COLUMNS}
    )
    insert into callplane.events (namespace, subject_id, command) select $1, id, ${PUT_RUNNER} from runner`,
    [namespace, id],
  )
}
