-- Where other peers of live queries reach a peer, and what signs the tickets that let them in.
alter table callplane.peers add column if not exists address text;
alter table callplane.peers add column if not exists secret text;
