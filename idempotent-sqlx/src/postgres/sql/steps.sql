create function {schema}.insert_step_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_name text, p_value bytea
) returns text language plpgsql as $$
begin
    perform from {schema}.leases l
    where l.key = p_key and l.lease_id = p_lease_id and l.token = p_token
        and coalesce(l.leased_until + l.retention > clock_timestamp(), true)
    for key share;
    if not found or exists (select from {schema}.records where key = p_key) then
        return 'lost';
    end if;
    insert into {schema}.steps (key, name, value) values (p_key, p_name, p_value)
    on conflict do nothing;
    return case
        when found then 'ok'
        when exists (
            select from {schema}.steps
            where key = p_key and name = p_name and value = p_value) then 'equal'
        else 'conflict'
    end;
end $$;

create function {schema}.save_step_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_name text, p_value bytea, out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
begin
    perform {schema}.read_committed_v1();
    o_outcome := replace(
        {schema}.insert_step_v1(p_key, p_lease_id, p_token, p_name, p_value), 'equal', 'ok');
end $$;

-- In a handler's own transaction; see record_v1. What is there already was put there by the same
-- attempt, whose effect would be doubled.
create function {schema}.step_v1(
    p_key bytea, p_lease_id bytea, p_token bigint, p_name text, p_value bytea
) returns void language plpgsql as $$
declare
    outcome constant text :=
        {schema}.insert_step_v1(p_key, p_lease_id, p_token, p_name, p_value);
begin
    if outcome = 'lost' then
        perform {schema}.refuse_v1('ID002', 'the lease is lost, or has a record already');
    elsif outcome <> 'ok' then
        perform {schema}.refuse_v1('ID003', 'the attempt has a step of this name already');
    end if;
end $$;
