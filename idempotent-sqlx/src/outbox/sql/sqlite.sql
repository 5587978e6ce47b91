-- The tables of an outbox. Times are microseconds since 1970.

create table if not exists {messages} (
    -- The order inside of a partition; AUTOINCREMENT never gives a number twice.
    seq integer primary key autoincrement,
    created_at integer not null default (cast((julianday('now') - 2440587.5) * 86400000000 as integer)),
    -- Until then nothing of the partition is published from here on.
    blocked_until integer,
    failed_at integer,
    -- When it was published or discarded; it goes `retention` later.
    settled_at integer,
    attempts integer not null default 0,
    slot integer not null,
    state text not null default 'pending'
        check (state in ('pending', 'published', 'dead', 'discarded')),
    id text not null unique,
    topic text not null,
    partition_key text not null,
    headers text not null,
    payload blob not null,
    error text
);

create index if not exists {name}_pending on {messages} (slot, seq) where state = 'pending';
create index if not exists {name}_blocked on {messages} (partition_key, seq) where blocked_until is not null;
create index if not exists {name}_dead on {messages} (failed_at) where state = 'dead';
create index if not exists {name}_settled on {messages} (settled_at) where settled_at is not null;

-- One row for each slot; a relay that publishes from a slot holds its lease.
create table if not exists {slots} (
    slot integer primary key,
    leased_until integer not null default 0,
    -- Grows with each lease.
    fence integer not null default 0,
    -- Who holds it, for people.
    relay text
);

insert or ignore into {slots} (slot)
with recursive numbers (slot) as (select 0 union all select slot + 1 from numbers where slot + 1 < {count})
select slot from numbers;
