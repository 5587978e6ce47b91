-- The record is an insert that locks the lease FOR KEY SHARE: the lease row stays as it is.
create function {schema}.insert_record_v1(
    p_key bytea,
    p_lease_id bytea,
    p_token bigint,
    p_fingerprint bytea,
    p_status smallint,
    p_metadata text,
    p_body bytea,
    p_ttl bigint
) returns text language plpgsql as $$
declare
    nested boolean;
begin
    insert into {schema}.records
        (key, lease_id, fingerprint, status, metadata, body, completed_at, expires_at)
    select l.key, l.lease_id, p_fingerprint, p_status, p_metadata::json, p_body,
        clock_timestamp(), clock_timestamp() + p_ttl * interval '1 microsecond'
    from {schema}.leases l
    where l.key = p_key and l.lease_id = p_lease_id and l.token = p_token
        and coalesce(l.leased_until + l.retention > clock_timestamp(), true)
    for key share
    on conflict do nothing
    -- A row has the id of its subtransaction, where there is one.
    returning xmin::text::numeric <> pg_current_xact_id()::text::numeric % 4294967296 into nested;
    return case when not found then 'lost' when nested then 'nested' else 'ok' end;
end $$;

-- p_again: an earlier call of the same step got no answer, and may have been applied.
create function {schema}.complete_v1(
    p_key bytea,
    p_lease_id bytea,
    p_token bigint,
    p_fingerprint bytea,
    p_status smallint,
    p_metadata text,
    p_body bytea,
    p_ttl bigint,
    p_again boolean,
    out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    perform {schema}.read_committed_v1();
    o_outcome := {schema}.insert_record_v1(
        p_key, p_lease_id, p_token, p_fingerprint, p_status, p_metadata, p_body, p_ttl);
    if o_outcome = 'lost' and p_again and exists (
            select from {schema}.records r join {schema}.leases l on l.key = r.key
            where r.key = p_key and r.lease_id = p_lease_id and l.token = p_token
                and r.fingerprint = p_fingerprint and r.metadata::text = p_metadata
                and r.body = p_body) then
        o_outcome := 'ok';
    end if;
end $$;

-- In a handler's own transaction, at any isolation level. Refused, it fails: PostgreSQL then lets
-- nothing of the transaction be committed.
create function {schema}.record_v1(
    p_key bytea,
    p_lease_id bytea,
    p_token bigint,
    p_fingerprint bytea,
    p_status smallint,
    p_metadata text,
    p_body bytea,
    p_ttl bigint
) returns text language plpgsql as $$
declare
    outcome constant text := {schema}.insert_record_v1(
        p_key, p_lease_id, p_token, p_fingerprint, p_status, p_metadata, p_body, p_ttl);
begin
    if outcome = 'lost' then
        perform {schema}.refuse_v1('ID002', 'the lease is lost, or has a record already');
    end if;
    return outcome;
end $$;
