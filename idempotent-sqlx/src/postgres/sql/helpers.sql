-- The steps rely on a snapshot for each statement. Where the database's default is another isolation
-- level, the client is told, and opens its transactions with the right one from then on.
create function {schema}.read_committed_v1() returns void language plpgsql as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'idempotent: the step needs read committed' using errcode = 'ID001';
    end if;
end $$;

create function {schema}.refuse_v1(p_code text, p_reason text) returns void
language plpgsql as $$
begin
    raise exception 'idempotent: %; nothing of this transaction is committed', p_reason
        using errcode = p_code;
end $$;

create function {schema}.micros_v1(t timestamptz) returns bigint
language sql immutable as $$ select (extract(epoch from t) * 1000000)::bigint $$;

-- Until the end of the transaction. A row that is not there cannot be locked.
create function {schema}.lock_key_v1(p_key bytea) returns void language sql as $$
    select pg_advisory_xact_lock(('x' || encode(substring(p_key for 8), 'hex'))::bit(64)::bigint)
$$;

-- Whether a row can have been written by a store. What cannot is told, and nothing is granted on it.
create function {schema}.is_readable_v1(
    p_token bigint, p_first_token bigint, p_attempt integer, p_fingerprint bytea,
    p_recorded_for bytea
) returns boolean language sql immutable as $$
    select p_token > 0 and p_first_token > 0 and p_attempt > 0 and octet_length(p_fingerprint) = 32
        and coalesce(octet_length(p_recorded_for), 32) = 32
$$;
