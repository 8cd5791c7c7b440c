-- The log of what happens to jobs. It begins with this version: of jobs made before, the earlier steps are missing.
create table if not exists callplane.events (
  namespace text not null,
  subject_id uuid not null, -- the job
  id uuid not null default gen_random_uuid(),
  at timestamptz not null default now(),
  tick int8, -- given while somebody watches, and only then
  from_state text,
  to_state text,
  service text,
  function text,
  priority int8,
  parent_id uuid,
  created_at timestamptz,
  run_at timestamptz,
  fence int8,
  from_attempt int8,
  attempt int8,
  failure text,
  runner_id uuid,
  started_at timestamptz,
  finished_at timestamptz,
  command jsonb,
  is_last bool,
  place int8,
  primary key (namespace, subject_id, id),
  constraint step_or_command check (
    (from_state is null) = (from_attempt is null) and (to_state is null) = (attempt is null)
    and (command is null) = (coalesce(from_state, to_state) is not null)
  )
);

create index if not exists events_unstamped on callplane.events (namespace, at)
where tick is null;

create index if not exists events_stamped on callplane.events (namespace, tick)
where tick is not null;

create index if not exists events_commands on callplane.events (namespace, tick)
where command is not null;

create index if not exists events_last on callplane.events (at, namespace)
where is_last;
create table if not exists callplane.heads (
  namespace text primary key,
  tick int8 not null default 0,
  watched_from timestamptz not null,
  base_tick int8 not null default 0,
  epoch int8 not null default 0,
  holder uuid,
  expires_at timestamptz
);
