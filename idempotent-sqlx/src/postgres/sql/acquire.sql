-- Reads, and writes only where it grants. Each statement has a snapshot of its own: what another
-- transaction committed a moment ago is seen by the next one. Never answers from an empty look.
create function {schema}.acquire_v1(
    p_key bytea,
    p_fingerprint bytea,
    p_lease_id bytea,
    p_lease_for bigint,  -- microseconds, as all numbers of time here
    p_retention bigint,  -- null: until a person decides
    p_takeover boolean,
    p_operation text,
    p_ttl bigint,
    out o_outcome text,
    out o_token bigint,
    out o_attempt integer,
    out o_remaining bigint,
    out o_fingerprint bytea,
    out o_metadata text,
    out o_body bytea,
    out o_step_names text[],
    out o_step_values bytea[],
    out o_first_token bigint
) language plpgsql set lock_timeout = '1s' as $$
declare
    us constant interval := interval '1 microsecond';
    seen record;
    t timestamptz;
    expired boolean;   -- as good as absent
    repeated boolean;  -- of an acquire that was granted
    shared boolean := false;  -- locked, but not against an open transaction of the lease's owner
    locked boolean := false;
    looks integer := 0;
begin
    perform {schema}.read_committed_v1();
    loop
        select l.lease_id, l.released_id, l.token, l.first_token, l.attempt, l.state, l.fingerprint,
            l.leased_until, l.leased_until + l.retention as forgotten_at,
            r.fingerprint as recorded_for, r.metadata, r.body, r.expires_at
        into seen
        from {schema}.leases l left join {schema}.records r on r.key = l.key
        where l.key = p_key;
        t := clock_timestamp();

        if not found then
            locked := false;
            -- The clock is read where nobody can forget the key: were it read before another lease is
            -- granted and forgotten, its token would not be the greater one.
            perform {schema}.lock_key_v1(p_key);
            t := clock_timestamp();
            insert into {schema}.leases
                (key, lease_id, token, first_token, attempt, state, fingerprint, leased_until,
                    retention, ttl, operation, purge_at)
            values (
                p_key, p_lease_id, {schema}.micros_v1(t), {schema}.micros_v1(t), 1, 'leased',
                p_fingerprint, t + p_lease_for * us, p_retention * us, p_ttl * us, p_operation,
                coalesce(t + p_lease_for * us + p_retention * us, 'infinity'))
            on conflict do nothing
            returning 'granted', token, attempt, first_token
            into o_outcome, o_token, o_attempt, o_first_token;
            exit when found;
            -- Somebody else was first, and is seen by the next look.
            looks := looks + 1;
            if looks > 5 then
                o_outcome := 'again';
                exit;
            end if;
            continue;
        end if;

        if not {schema}.is_readable_v1(
            seen.token, seen.first_token, seen.attempt, seen.fingerprint,
            seen.recorded_for) then
            o_outcome := 'corrupt';
            exit;
        end if;
        if seen.expires_at > t then
            if seen.recorded_for <> p_fingerprint then
                o_outcome := 'mismatch';
            else
                o_outcome := 'completed';
                o_remaining := {schema}.micros_v1(seen.expires_at) - {schema}.micros_v1(t);
                o_fingerprint := seen.recorded_for;
                o_metadata := seen.metadata::text;
                o_body := seen.body;
            end if;
            exit;
        end if;
        expired := seen.expires_at is not null or coalesce(seen.forgotten_at <= t, false);
        if not expired and seen.state = 'freed' then
            if seen.released_id = p_lease_id then
                o_outcome := 'lost';
                exit;
            end if;
            expired := true;
        end if;
        repeated := false;
        if not expired then
            if seen.fingerprint <> p_fingerprint then
                o_outcome := 'mismatch';
                exit;
            end if;
            if seen.state = 'released' then
                if seen.released_id = p_lease_id then
                    o_outcome := 'lost';
                    exit;
                end if;
            elsif seen.lease_id = p_lease_id then
                repeated := true;
            elsif seen.leased_until > t then
                o_outcome := 'in_flight';
                o_remaining := {schema}.micros_v1(seen.leased_until) - {schema}.micros_v1(t);
                exit;
            elsif not p_takeover then
                o_outcome := 'abandoned';
                o_attempt := seen.attempt;
                exit;
            end if;
        end if;

        if repeated and not shared and not locked then
            -- Waits for others that repeat it, and for nothing else.
            perform 1 from {schema}.leases where key = p_key for no key update;
            shared := found;
            continue;
        end if;
        if not repeated and not locked then
            perform 1 from {schema}.leases where key = p_key for update skip locked;
            locked := found;
            if not locked then
                -- Held for a moment by another step, or for long by the open transaction of a handler
                -- whose record is not committed: in flight, never free.
                looks := looks + 1;
                if looks > 6 then
                    o_outcome := 'in_flight';
                    o_remaining := 0;
                    exit;
                end if;
                perform pg_sleep(0.002 * looks);
            end if;
            -- Looks again in any case: what was decided without the lock may not be true any more.
            continue;
        end if;

        if expired then
            delete from {schema}.records where key = p_key;
            delete from {schema}.steps where key = p_key;
        end if;
        update {schema}.leases set
            lease_id = p_lease_id,
            released_id = null,
            token = case
                when repeated then seen.token
                else greatest(seen.token + 1, {schema}.micros_v1(t))
            end,
            attempt = case
                when repeated then seen.attempt
                when expired then 1
                else least(seen.attempt, 2147483646) + 1
            end,
            first_token = case
                when expired then greatest(seen.token + 1, {schema}.micros_v1(t))
                else seen.first_token
            end,
            state = 'leased',
            fingerprint = p_fingerprint,
            operation = p_operation,
            ttl = p_ttl * us,
            -- A repetition takes nothing away.
            leased_until = case
                when repeated then greatest(seen.leased_until, t + p_lease_for * us)
                else t + p_lease_for * us
            end,
            retention = p_retention * us,
            purge_at = coalesce(t + p_lease_for * us + p_retention * us, 'infinity')
        where key = p_key
        returning 'granted', token, attempt, first_token
        into o_outcome, o_token, o_attempt, o_first_token;
        if not expired then
            select array_agg(name), array_agg(value) into o_step_names, o_step_values
            from {schema}.steps where key = p_key;
        end if;
        exit;
    end loop;
end $$;
