-- Attempts given back, redrives, and retention.
alter table callplane.runners add column if not exists seen_at timestamptz not null default now();
alter table callplane.jobs add column if not exists redriven_from uuid;
alter table callplane.jobs add column if not exists is_redelivered bool not null default false;
alter table callplane.jobs add column if not exists given_back int8 not null default 0;

alter table callplane.jobs drop constraint if exists attempts_are_bounded;
alter table callplane.jobs add constraint attempts_are_bounded
  check (attempt between 0 and max_attempts and fence >= attempt + given_back);
alter table callplane.jobs add constraint given_back_is_bounded check (given_back between 0 and 2);
alter table callplane.jobs add constraint redriven_is_another
  check (redriven_from <> id and (redriven_from is null) = (origin_id = id));

create index if not exists jobs_delayed on callplane.jobs (run_at, namespace)
  where state = 'pending' and run_at > created_at;
create index if not exists jobs_ended on callplane.jobs (finished_at, namespace) where finished_at is not null;
create index if not exists jobs_failed on callplane.jobs (namespace, id) where state = 'failed';
