-- Up to which tick the commands of clients of live queries were replaced by fewer that make the same.
alter table callplane.heads add column if not exists condensed_tick int8 not null default 0;
