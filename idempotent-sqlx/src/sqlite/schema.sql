-- Version 1 of the tables. Times are microseconds since 1970, by the clock of the machine.

create table idempotent_leases (
    key blob not null primary key,
    -- Of the lease that holds the key; null when it was released.
    lease_id blob,
    -- The last one to be released or freed, which is refused from then on.
    released_id blob,
    token integer not null,
    -- That of attempt 1: the same in all attempts of one life of the key.
    first_token integer not null,
    attempt integer not null,
    state text not null check (state in ('leased', 'abandoned', 'released', 'freed')),
    fingerprint blob not null,
    -- Its name, for people, and for how long its record would be replayable.
    operation text not null,
    ttl integer not null,
    leased_until integer not null,
    -- How long the key is remembered after `leased_until`; null until a person decides.
    retention integer,
    -- When the purger looks at the row: not after it may go, and earlier where it was renewed since.
    purge_at integer not null,
    unique (key, lease_id)
) strict, without rowid;
create index idempotent_leases_purge_at on idempotent_leases (purge_at);

-- The outcome of a key. A record belongs to the lease that produced it: while it exists, nobody can
-- give that lease to another.
create table idempotent_records (
    key blob not null primary key,
    lease_id blob not null,
    fingerprint blob not null,
    status integer,
    metadata text not null,
    body blob not null,
    completed_at integer not null,
    expires_at integer not null,
    foreign key (key, lease_id) references idempotent_leases (key, lease_id) on delete cascade
) strict;
create index idempotent_records_expires_at on idempotent_records (expires_at);

create table idempotent_steps (
    key blob not null references idempotent_leases (key) on delete cascade,
    name text not null,
    value blob not null,
    saved_at integer not null,
    primary key (key, name)
) strict, without rowid;

-- For people.
create view idempotent_keys as
with clock (now) as (select cast(unixepoch('subsec') * 1000000 as integer))
select
    lower(hex(l.key)) as key,
    l.operation,
    case
        when r.expires_at <= now then 'expired'
        when r.key is not null then 'completed'
        when l.leased_until + l.retention <= now then 'expired'
        when l.state = 'leased' and l.leased_until <= now then 'abandoned'
        else l.state
    end as state,
    l.attempt,
    l.token,
    datetime(l.leased_until / 1000000, 'unixepoch') as leased_until,
    l.ttl / 1000000.0 as ttl_seconds,
    r.status,
    r.metadata,
    r.body,
    datetime(r.completed_at / 1000000, 'unixepoch') as completed_at,
    datetime(coalesce(r.expires_at, l.leased_until + l.retention) / 1000000, 'unixepoch')
        as remembered_until
from idempotent_leases l
left join idempotent_records r on r.key = l.key, clock;

create table idempotent_migrations (version integer primary key) strict;
insert into idempotent_migrations (version) values (1);
