-- Touches no key and no indexed column.
create function {schema}.renew_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_lease_for bigint, out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    perform {schema}.read_committed_v1();
    update {schema}.leases l set
        leased_until = clock_timestamp() + p_lease_for * interval '1 microsecond'
    where l.key = p_key and l.lease_id = p_lease_id and l.token = p_token and l.state = 'leased'
        and coalesce(l.leased_until + l.retention > clock_timestamp(), true)
        and not exists (select from {schema}.records r where r.key = l.key);
    o_outcome := case when found then 'ok' else 'lost' end;
end $$;

-- Locks the lease of its owner. Waits for the end of a transaction that recorded in it, after which
-- a record is there or is not: 'ok' says that there is none and never will be.
create function {schema}.lock_lease_v1(
    p_key bytea, p_lease_id bytea, p_token bigint
) returns boolean language plpgsql as $$
declare
    forgotten boolean;
begin
    select coalesce(leased_until + retention <= clock_timestamp(), false) into forgotten
    from {schema}.leases
    where key = p_key and lease_id = p_lease_id and token = p_token
    for update;
    -- A statement of its own: it sees what was committed while the lock was waited for.
    return found and not forgotten
        and not exists (select from {schema}.records where key = p_key);
end $$;

-- Ends a lease without an outcome: `released` remembers the request, `freed` only token and lease id.
create function {schema}.give_back_v1(
    p_state text, p_key bytea, p_lease_id bytea, p_token bigint, p_retention bigint,
    p_again boolean
) returns text language plpgsql as $$
declare
    t timestamptz;
begin
    perform {schema}.read_committed_v1();
    if {schema}.lock_lease_v1(p_key, p_lease_id, p_token) then
        t := clock_timestamp();
        update {schema}.leases set
            lease_id = null,
            released_id = p_lease_id,
            state = p_state,
            leased_until = t,
            retention = p_retention * interval '1 microsecond',
            purge_at = t + p_retention * interval '1 microsecond'
        where key = p_key;
        if p_state = 'freed' then
            delete from {schema}.steps where key = p_key;
        end if;
        return 'ok';
    elsif p_again and exists (
        select from {schema}.leases
        where key = p_key and released_id = p_lease_id and token = p_token and state = p_state) then
        return 'ok';
    end if;
    return 'lost';
end $$;

-- p_again: an earlier call of the same step got no answer, and may have been applied.
create function {schema}.release_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_retention bigint, p_again boolean,
    out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    o_outcome := {schema}.give_back_v1(
        'released', p_key, p_lease_id, p_token, p_retention, p_again);
end $$;

create function {schema}.free_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_retention bigint, p_again boolean,
    out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    o_outcome := {schema}.give_back_v1(
        'freed', p_key, p_lease_id, p_token, p_retention, p_again);
end $$;

create function {schema}.abandon_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    perform {schema}.read_committed_v1();
    if {schema}.lock_lease_v1(p_key, p_lease_id, p_token) then
        update {schema}.leases set state = 'abandoned', leased_until = clock_timestamp()
        where key = p_key;
        o_outcome := 'ok';
    else
        o_outcome := 'lost';
    end if;
end $$;
