-- Callplane keeps its state in this schema, and this page tells how.
--
-- Words
--   namespace  the tenant boundary: no statement looks past it, and every row belongs to one
--   service    a named set of functions
--   call       what a client makes; a job is the row that it becomes
--   attempt    one execution of a job; a row of its own once it has ended
--   runner     a process that executes functions; its slots bound how many at once
--   lease      a runner's hold on an attempt: a random token and an expiry
--   fence      a number that only grows over the attempts of a job, for user code to compare
--   sweep      the maintenance that cron, claims and alarms share
--   event      a step of a job, in the log that live queries follow
--   tick       the logical time of that log: a number that only grows, given to events that have committed
--   peer       a process that answers live queries, from that log; its clients are connected to it
--   checkpoint what a peer that falls asleep keeps for its next life: all that it has made of the log, at one tick
--
-- The life of a job
--
--               claim                      succeed
--  pending ───────────────▶ running ─────────────────▶ succeeded
--    ▲  │                   │  │  └── fail, no retry ─▶ failed      (threw · timed_out · stalled · expired)
--    │  └── cancel, expire  │  └───── cancel ─────────▶ cancelled
--    └──── retry (threw, timed out) · stall (lease expired), while attempts remain
--
--   A call is inserted as `pending`, due at `run_at`. A claim takes due jobs of the services that a runner serves, in
--   the order of priority, then time. It makes a fresh token, raises the fence and counts the attempt: once, there. Where
--   the poll of a runner waits in the process that inserts a call, and so nothing stands before it, the two are one: the
--   row begins as `running`, held by the claim of that poll. The lease is short until the runner's first heartbeat, since
--   the answer to a claim can be lost after its commit; a poll that repeats its claim id gets what that claim holds. Where
--   the plane itself could not hand the answer over, because the runner had gone by then, it gives the attempt back: the
--   job is pending again and the attempt is not counted, at most twice a job. Silence is no such evidence, and counts: a
--   function that kills its process ends after its attempts.
--
--   Whoever ends an attempt must name its token, and the job must still be running under it. The loser learns it
--   (`lease_lost`). The ended attempt becomes a row that keeps the token, so that the same report sent twice gets the
--   same answer. Execution is at least once; each completion is applied exactly once; the states on the right never
--   change.
--
--   To run an ended call anew makes another job: pending, due now, with what was asked before and a fence that goes on
--   from the old one's. It names the job that it follows and the first of its line. A job is redriven once: the id of the
--   new job is derived from the old one's, so that a redrive sent twice, or by two people, makes one. To run it once more
--   is to redrive the new job.
--
-- What time does
--   The sweep ends what is overdue: leases and timeouts that ran out, deadlines that passed, jobs that ended so long ago that
--   they are forgotten, and the events of jobs that are gone. An alarm at the next of these times, a timer (a cron trigger
--   on Cloudflare) and the polls of the runners all start it; any one of them suffices. Each duty is one bounded statement
--   that passes over locked rows and asks again under the lock, so that any number of sweeps may run at once.
--
-- Rules that every statement keeps
--   One statement per transition, guarded by the state and, while running, by the token: there is no interactive
--   transaction over Neon's HTTP. One clock: now() of the database. One update of a table per statement, plain inserts
--   beside it: CockroachDB refuses two. Only uuid, text, bytea, timestamptz, int8, float8, bool, jsonb: both databases
--   have them. No sequences, no advisory locks, no enums, no domains.
--
-- Each statement below can be run again: `npm run migrate` does so.

create schema if not exists callplane;

-- The version of this page that a database has; migrations raise it.
create table if not exists callplane.schema_version (
  version int8 primary key,
  applied_at timestamptz not null default now()
);

create table if not exists callplane.namespaces (
  name text primary key,
  created_at timestamptz not null default now(),
  constraint namespace_has_a_proper_name check (name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,63}$')
);

-- Keys are found by their public id alone, before the namespace is known; hence the primary key without it.
create table if not exists callplane.keys (
  id text primary key,
  namespace text not null references callplane.namespaces (name),
  name text,
  -- SHA-256 of a random 256-bit secret. The secret itself is shown once and kept nowhere.
  secret_hash bytea not null,
  -- [{ "scope": "call", "services": ["mailer"] }, …]; without services, all of the namespace.
  grants jsonb not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  constraint key_hash_is_sha256 check (octet_length(secret_hash) = 32)
);

create index if not exists keys_of_namespace on callplane.keys (namespace, created_at);

-- What has been registered: the policies that a new call copies, and the way to tell a call that nobody serves.
create table if not exists callplane.functions (
  namespace text not null,
  service text not null,
  name text not null,
  policy jsonb not null,
  registered_at timestamptz not null default now(),
  primary key (namespace, service, name)
);

-- One row per runner process, written when it joins and leaves. While it waits, its open poll is its presence.
create table if not exists callplane.runners (
  namespace text not null,
  id uuid not null,
  host text,
  sdk text,
  -- [{ "name": "mailer", "slots": 100 }, …]
  services jsonb not null,
  joined_at timestamptz not null default now(),
  -- When it last joined or took jobs, to the hour. A row that was not seen for as long as jobs are kept goes with them.
  seen_at timestamptz not null default now(),
  left_at timestamptz,
  primary key (namespace, id)
);

-- One row per call. No foreign key to the namespace: the check would lock one row from every insert, and the namespace
-- comes from a key that has one.
create table if not exists callplane.jobs (
  namespace text not null,
  id uuid not null, -- UUIDv7 made by the client: a create sent twice is the same row
  service text not null,
  function text not null,
  state text not null default 'pending',

  -- What was asked. The plane never reads args: they are the caller's and the runner's.
  args bytea not null,
  args_digest bytea not null,
  parent_id uuid, -- the job in which the call was made
  origin_id uuid not null, -- the first call of a line of redrives; its own id otherwise
  redriven_from uuid, -- the ended job that this one runs anew
  created_at timestamptz not null default now(),

  -- When, how often and how long: copied from the function's policy and the call's options at creation.
  priority int8 not null default 0,
  run_at timestamptz not null default now(),
  deadline_at timestamptz,
  max_attempts int8 not null,
  retry jsonb, -- { "on": […], "initialMs", "factor", "maxMs", "jitter" }; null retries stalls alone
  timeout_ms int8,
  lease_ms int8 not null,

  -- The current attempt, or the last one.
  attempt int8 not null default 0,
  fence int8 not null default 0,
  runner_id uuid,
  started_at timestamptz,
  timeout_at timestamptz,
  progress bytea,

  -- The lease: there while the job runs, and only then.
  lease_token uuid,
  lease_expires_at timestamptz,
  claim_id uuid,
  -- Whether the claim's answer was sent a second time: then nobody knows that the first did not arrive.
  is_redelivered bool not null default false,
  given_back int8 not null default 0, -- attempts that were not counted, since their runner never heard of them

  -- How it ended.
  finished_at timestamptz,
  failure text,
  result bytea,
  error bytea, -- what the function threw
  message text, -- what the plane has to say where the function did not end it

  primary key (namespace, id),
  constraint state_is_known check (state in ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
  constraint failure_is_known check (failure is null or failure in ('threw', 'timed_out', 'stalled', 'expired')),
  constraint running_has_a_lease check (
    (state = 'running') = (lease_token is not null)
    and (state = 'running') = (lease_expires_at is not null)
    and (state = 'running') = (claim_id is not null)
  ),
  constraint final_has_an_end check ((state in ('succeeded', 'failed', 'cancelled')) = (finished_at is not null)),
  constraint succeeded_has_a_result check ((state = 'succeeded') = (result is not null)),
  constraint failed_has_a_reason check ((state = 'failed') = (failure is not null)),
  constraint threw_has_an_error check (coalesce(failure = 'threw', false) = (error is not null)),
  constraint attempts_are_bounded check (attempt between 0 and max_attempts and fence >= attempt + given_back),
  constraint given_back_is_bounded check (given_back between 0 and 2),
  constraint redriven_is_another check (redriven_from <> id and (redriven_from is null) = (origin_id = id)),
  constraint started_has_an_attempt check (attempt = 0 or started_at is not null),
  constraint digest_is_sha256 check (octet_length(args_digest) = 32),
  constraint times_are_positive check (max_attempts > 0 and lease_ms > 0 and coalesce(timeout_ms, 1) > 0)
);

-- The claim: due jobs of a service in order. Partial, so that finished jobs weigh nothing.
create index if not exists jobs_pending on callplane.jobs (namespace, service, priority desc, run_at, id)
where state = 'pending';

-- The sweep, which knows no namespace: leases that ran out. timeout_at needs no index, since no lease outlives it.
create index if not exists jobs_leased on callplane.jobs (lease_expires_at, namespace)
where state = 'running';

-- The sweep: jobs that were delayed or back off, and when the next of them is due. Most jobs never are in it.
create index if not exists jobs_delayed on callplane.jobs (run_at, namespace)
where state = 'pending' and run_at > created_at;

-- A claim repeated with the same id: what it holds.
create index if not exists jobs_claimed on callplane.jobs (namespace, runner_id, claim_id)
where state = 'running';

-- The sweep: deadlines that passed.
create index if not exists jobs_with_a_deadline on callplane.jobs (deadline_at, namespace)
where deadline_at is not null and state in ('pending', 'running');

-- The sweep: jobs that ended, the oldest first, which retention deletes.
create index if not exists jobs_ended on callplane.jobs (finished_at, namespace)
where finished_at is not null;

-- Lists and redrives of what failed, which people ask for most and which is a small part of the whole. Other lists walk
-- the primary key, a bounded way at a time.
create index if not exists jobs_failed on callplane.jobs (namespace, id)
where state = 'failed';

-- Attempts that have ended. The running one is in its job's row: one row written less per call, and its token is
-- checked where it is changed.
create table if not exists callplane.attempts (
  namespace text not null,
  job_id uuid not null,
  fence int8 not null,
  attempt int8 not null,
  token uuid not null, -- outlives the lease, so that a repeated report gets the answer of the first
  runner_id uuid not null,
  started_at timestamptz not null,
  ended_at timestamptz not null default now(),
  outcome text not null,
  error bytea,
  message text,
  primary key (namespace, job_id, fence),
  constraint outcome_is_known check (
    outcome in ('succeeded', 'cancelled', 'threw', 'timed_out', 'stalled', 'expired')
  ),
  constraint threw_has_an_error check ((outcome = 'threw') = (error is not null))
);

-- What happened: each step of a job, written by the statement that makes it. This is a job's timeline, and the log that live
-- queries follow. A row tells how the job stood before and after, so that a view can be kept without the jobs at hand:
--   from_state, from_attempt   before; null: the job is made here
--   to_state, attempt          after; null: the job is forgotten here
--   the rest                   the job's columns after the step; before a forgetting, which has no after. run_at, runner_id
--                              and started_at are those of the attempt that begins or ends here.
-- Rows are inserted before their transactions commit, so that neither their time nor any number taken at the insert says in
-- which order they become visible. The tick does: it is given to rows that have committed, by one at a time.
--
-- What clients of live queries ask for all to see is in the same log, as `command`s, so that every peer applies it at the same
-- place of it; and so are runners that come and go, and functions that they bring. A peer that begins applies all that clients
-- have asked for. So that this does not grow for ever, it is replaced once it is an hour old: by fewer commands that make the
-- same, all of them at the last tick that they replace.
create table if not exists callplane.events (
  namespace text not null,
  subject_id uuid not null, -- the job or the runner; of a command, the client that sent it
  at timestamptz not null default now(),
  tick int8, -- given while somebody watches, and only then
  from_state text,
  to_state text,
  service text,
  function text,
  priority int8,
  parent_id uuid,
  redriven_from uuid, -- as a job is made, and as it is forgotten
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
  is_last bool, -- of its subject, which is forgotten: an hour later all of its events go
  place int8, -- of a command, among those that were sent with it
  constraint step_or_command check (
    (from_state is null) = (from_attempt is null) and (to_state is null) = (attempt is null)
    and (command is null) = (coalesce(from_state, to_state) is not null)
  )
);

-- The timeline of a job. There is no key: rows are never looked up one by one, and nothing refers to them.
create index if not exists events_of_subject on callplane.events (namespace, subject_id);

-- What has committed and has no tick yet. Where nobody watches that is everything, so that it is looked at from a time on.
create index if not exists events_unstamped on callplane.events (namespace, at)
where tick is null;

-- The log, in order.
create index if not exists events_stamped on callplane.events (namespace, tick)
where tick is not null;

-- What a peer that begins must know: what clients have asked for.
create index if not exists events_commands on callplane.events (namespace, tick)
where command is not null;

-- The sweep: events of what is gone.
create index if not exists events_last on callplane.events (at, namespace)
where is_last;

-- How far the log of a namespace has come. One process at a time gives ticks: who holds the lease of this row, under its
-- epoch. The row's lock is held until the ticks are committed, so that they become visible in order; and a holder that was
-- thought dead finds another epoch when it wakes.
create table if not exists callplane.heads (
  namespace text primary key,
  tick int8 not null default 0,
  -- Events from before are not stamped: nobody watched then.
  watched_from timestamptz not null,
  -- Since the last tick before this one, events were left out, or have been forgotten since: who has come no further begins
  -- anew. Who has can be told all that it missed.
  base_tick int8 not null default 0,
  epoch int8 not null default 0,
  holder uuid,
  expires_at timestamptz,
  -- The commands up to there were replaced by fewer that make the same, once they were an hour old and many.
  condensed_tick int8 not null default 0
);

-- Peers that have clients in a namespace, or were invited to share its queries, and how each does. A lease, which is renewed
-- only while something happens there: over an idle plane all of them run out, and nobody is missed. Where something does happen,
-- whoever was poked for it and renewed finds those who were poked as well and did not: one deletes the row, and with it appends
-- the command PeerGone, so that all hear of it at the same tick. One that lives all the same comes back with its next renewal.
--
-- A query that is registered with shards runs in pieces, each of which reads some of the rows. The peer that its clients are
-- connected to, its owner, invites the peers of the other processes, shares the pieces out among all that are here, hears of
-- each from its holder, and tells a tick once all have come as far. A holder that is lost is replaced by another, which begins
-- where the owner is.
create table if not exists callplane.peers (
  namespace text not null,
  id uuid not null,
  started_at timestamptz not null default now(),
  seen_at timestamptz not null default now(), -- of the last renewal, as is all that follows
  expires_at timestamptz not null,
  tick int8 not null,
  lag int8 not null, -- ticks up to the head
  clients int8 not null,
  slow_clients int8 not null,
  queries int8 not null,
  state_rows int8 not null, -- in all operators of the queries, and of pieces of other peers' queries
  address text, -- where other peers reach it over HTTP; null: they do not, and it holds no pieces but its own
  -- Signs what lets another peer in there. A new one each time that it starts, so that it need not be hashed: who reads this
  -- table reads the jobs too.
  secret text,
  state_bytes int8 not null default 0, -- of memory that these rows take, about
  primary key (namespace, id)
);
