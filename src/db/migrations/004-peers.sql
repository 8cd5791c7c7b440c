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
