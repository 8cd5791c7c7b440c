-- Peers of live queries that have clients in a namespace, and how each does.
create table if not exists callplane.peers (
  namespace text not null,
  id uuid not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  tick int8 not null,
  lag int8 not null,
  clients int8 not null,
  slow_clients int8 not null,
  queries int8 not null,
  state_rows int8 not null,
  primary key (namespace, id)
);

-- Of a job that runs another anew. Redrives of before are known from the jobs alone.
alter table callplane.events add column if not exists redriven_from uuid;

-- Events are never looked up one by one: an index on their subject is what the timeline of a job needs, and less to write.
create index if not exists events_of_subject on callplane.events (namespace, subject_id);

alter table callplane.events drop column if exists id; -- and with it the primary key
