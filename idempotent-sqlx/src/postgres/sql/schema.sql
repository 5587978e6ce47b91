-- Version 1 of the tables. Columns of fixed width come first: nothing is lost to alignment.

-- One row for each key that is known. `renew` changes `leased_until` alone, which no index has: it
-- neither waits for nor breaks a handler's open transaction, which holds FOR KEY SHARE on the row.
-- Takeover and release change `lease_id`, a key column: they wait for such a transaction or skip it.
create table {schema}.leases (
    token bigint not null,
    -- That of attempt 1: the same in all attempts of one life of the key.
    first_token bigint not null,
    leased_until timestamptz not null,
    -- When the purger looks at the row: not after it may go, and earlier where it was renewed since.
    purge_at timestamptz not null,
    -- How long the key is remembered after `leased_until`; null until a person decides.
    retention interval,
    -- For how long the operation's record would be replayable.
    ttl interval not null,
    attempt integer not null,
    state text not null check (state in ('leased', 'abandoned', 'released', 'freed')),
    key bytea primary key,
    -- Of the lease that holds the key; null when it was released.
    lease_id bytea,
    -- The last one to be released or freed, which is refused from then on.
    released_id bytea,
    fingerprint bytea not null,
    -- Its name, for people.
    operation text not null,
    unique (key, lease_id)
);
create index leases_purge_at on {schema}.leases (purge_at);

-- The outcome of a key. A record belongs to the lease that produced it: while it exists, nobody can
-- give that lease to another, whatever they run against these tables.
create table {schema}.records (
    completed_at timestamptz not null,
    expires_at timestamptz not null,
    status smallint,
    key bytea primary key,
    lease_id bytea not null,
    fingerprint bytea not null,
    metadata json not null,
    body bytea not null,
    foreign key (key, lease_id) references {schema}.leases (key, lease_id) on delete cascade
);
create index records_expires_at on {schema}.records (expires_at);

-- The results of a handler's steps. A table of its own, so that saving one in an open transaction
-- does not lock the lease against its renewal.
create table {schema}.steps (
    saved_at timestamptz not null default clock_timestamp(),
    key bytea not null references {schema}.leases (key) on delete cascade,
    name text not null,
    value bytea not null,
    primary key (key, name)
);

-- For people.
create view {schema}.keys as
select
    encode(l.key, 'hex') as key,
    l.operation,
    case
        when r.expires_at <= clock_timestamp() then 'expired'
        when r.key is not null then 'completed'
        when l.leased_until + l.retention <= clock_timestamp() then 'expired'
        when l.state = 'leased' and l.leased_until <= clock_timestamp() then 'abandoned'
        else l.state
    end as state,
    l.attempt,
    l.token,
    l.leased_until,
    l.ttl,
    r.status,
    r.metadata,
    r.body,
    r.completed_at,
    coalesce(r.expires_at, l.leased_until + l.retention, 'infinity') as remembered_until
from {schema}.leases l
left join {schema}.records r on r.key = l.key;

create table {schema}.migrations (
    version integer primary key,
    applied_at timestamptz not null default clock_timestamp()
);
