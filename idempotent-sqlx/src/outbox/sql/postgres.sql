-- The tables of an outbox. Run whole in one transaction.

create table {messages} (
    -- The order inside of a partition. Drawn when the row is inserted, not when it is committed.
    seq bigint generated always as identity,
    created_at timestamptz not null default clock_timestamp(),
    -- Until then nothing of the partition is published from here on.
    blocked_until timestamptz,
    failed_at timestamptz,
    -- When it was published or discarded; it goes `retention` later.
    settled_at timestamptz,
    attempts integer not null default 0,
    slot smallint not null,
    state text not null default 'pending'
        check (state in ('pending', 'published', 'dead', 'discarded')),
    id text primary key,
    topic text not null,
    partition_key text not null,
    headers json not null,
    payload bytea not null,
    error text
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

-- What a relay reads. No other index has `seq` first: nothing tempts the planner to look for what is
-- pending among all that was ever published.
create index {name}_pending on {messages} (slot, seq) where state = 'pending';
create index {name}_blocked on {messages} (partition_key, seq) where blocked_until is not null;
create index {name}_dead on {messages} (failed_at) where state = 'dead';
create index {name}_settled on {messages} (settled_at) where settled_at is not null;

-- One row for each slot; a relay that publishes from a slot holds its lease.
create table {slots} (
    leased_until timestamptz not null default '-infinity',
    -- Grows with each lease.
    fence bigint not null default 0,
    slot smallint primary key,
    -- Who holds it, for people.
    relay text
) with (fillfactor = 50);

insert into {slots} (slot) select generate_series(0, {count} - 1);
