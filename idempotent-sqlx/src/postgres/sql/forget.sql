create function {schema}.forget_v1(
    p_key bytea, p_force boolean, out o_outcome text
) language plpgsql set lock_timeout = '1s' as $$
declare
    seen record;
    ends timestamptz;
    t timestamptz;
    known boolean;
begin
    perform {schema}.read_committed_v1();
    perform {schema}.lock_key_v1(p_key);
    select state, leased_until, leased_until + retention as forgotten_at into seen
    from {schema}.leases where key = p_key for update;
    if not found then
        o_outcome := 'absent';
        return;
    end if;
    select expires_at into ends from {schema}.records where key = p_key;
    t := clock_timestamp();
    known := case
        when ends is not null then ends > t
        else seen.state <> 'freed' and coalesce(seen.forgotten_at > t, true)
    end;
    if ends is null and known and seen.state = 'leased' and seen.leased_until > t and not p_force then
        o_outcome := 'leased';
        return;
    end if;
    -- Record and steps go with it.
    delete from {schema}.leases where key = p_key;
    o_outcome := case when known then 'removed' else 'absent' end;
end $$;

-- Looks at no more than p_limit keys that are due, skips what others hold, and tells how many it
-- looked at, and how many went.
create function {schema}.purge_v1(
    p_limit integer, out o_looked integer, out o_removed integer
) language plpgsql set lock_timeout = '1s'
-- A batch is small beside the table, whatever the statistics say of a table that grows.
set enable_seqscan = off as $$
declare
    t timestamptz := clock_timestamp();
    due bytea[];
begin
    perform {schema}.read_committed_v1();
    due := array(
        -- due records
        select l.key from {schema}.records r join {schema}.leases l on l.key = r.key
        where r.expires_at <= t order by r.expires_at limit p_limit for update of l skip locked
        -- end
    );
    o_looked := cardinality(due);
    if o_looked < p_limit then
        due := due || array(
            -- due leases
            select l.key from {schema}.leases l
            where l.purge_at <= t order by l.purge_at limit p_limit - o_looked
            for update skip locked
            -- end
        );
        o_looked := cardinality(due);
    end if;
    -- Now that nobody else can change them: which of them are still due?
    delete from {schema}.leases l
    using unnest(due) d (key) left join {schema}.records r on r.key = d.key
    where l.key = d.key and coalesce(r.expires_at, l.leased_until + l.retention) <= t;
    get diagnostics o_removed = row_count;
    if o_removed < o_looked then
        -- What was renewed or completed since is looked at later.
        update {schema}.leases l
        set purge_at = coalesce(r.expires_at, l.leased_until + l.retention, 'infinity')
        from unnest(due) d (key) left join {schema}.records r on r.key = d.key
        where l.key = d.key and l.purge_at <= t;
    end if;
end $$;
