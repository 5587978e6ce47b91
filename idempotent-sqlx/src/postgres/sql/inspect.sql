create function {schema}.inspect_v1(
    p_key bytea,
    out o_state text,
    out o_token bigint,
    out o_attempt integer,
    out o_remaining bigint,
    out o_fingerprint bytea,
    out o_metadata text,
    out o_body bytea,
    out o_operation text,
    out o_ttl bigint
) language plpgsql as $$
declare
    seen record;
    t timestamptz;
begin
    select l.token, l.first_token, l.attempt, l.state, l.fingerprint, l.leased_until,
        l.operation, l.ttl,
        l.leased_until + l.retention as forgotten_at,
        r.fingerprint as recorded_for, r.metadata, r.body, r.expires_at
    into seen
    from {schema}.leases l left join {schema}.records r on r.key = l.key
    where l.key = p_key;
    t := clock_timestamp();
    if not found or seen.expires_at <= t
        or (seen.expires_at is null and (seen.forgotten_at <= t or seen.state = 'freed')) then
        o_state := 'absent';
    elsif not {schema}.is_readable_v1(
        seen.token, seen.first_token, seen.attempt, seen.fingerprint, seen.recorded_for) then
        o_state := 'corrupt';
    elsif seen.expires_at > t then
        o_state := 'completed';
        o_remaining := {schema}.micros_v1(seen.expires_at) - {schema}.micros_v1(t);
        o_fingerprint := seen.recorded_for;
        o_metadata := seen.metadata::text;
        o_body := seen.body;
    else
        o_token := seen.token;
        o_attempt := seen.attempt;
        o_fingerprint := seen.fingerprint;
        o_operation := seen.operation;
        o_ttl := (extract(epoch from seen.ttl) * 1000000)::bigint;
        if seen.state = 'leased' and seen.leased_until > t then
            o_state := 'leased';
            o_remaining := {schema}.micros_v1(seen.leased_until) - {schema}.micros_v1(t);
        elsif seen.state = 'released' then
            o_state := 'released';
        else
            o_state := 'abandoned';
        end if;
    end if;
end $$;
