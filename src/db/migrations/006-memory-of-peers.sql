-- How much memory the queries of a peer of live queries take.
alter table callplane.peers add column if not exists state_bytes int8 not null default 0;
