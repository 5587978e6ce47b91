do $$
declare
    parts constant integer := 16;
    keys constant text := pg_get_viewdef('idempotent.keys');
    part integer;
    name text;
begin
    drop view idempotent.keys;
    alter table idempotent.leases rename to one_leases;
    alter table idempotent.steps rename to one_steps;

    create table idempotent.leases (
        like idempotent.one_leases including defaults including constraints,
        primary key (key),
        unique (key, lease_id)
    ) partition by hash (key);
    create index on idempotent.leases (purge_at);

    -- Whole: the store asks each new record for its transaction, which a table in parts does not tell.
    -- It is reached by its key alone, and purged beside the parts.
    alter table idempotent.records drop constraint records_key_lease_id_fkey;
    alter table idempotent.records add foreign key (key, lease_id)
        references idempotent.leases (key, lease_id) on delete cascade;

    create table idempotent.steps (
        like idempotent.one_steps including defaults including constraints,
        primary key (key, name),
        foreign key (key) references idempotent.leases (key) on delete cascade
    ) partition by hash (key);

    foreach name in array array['leases', 'steps'] loop
        for part in 0 .. parts - 1 loop
            execute format(
                'create table idempotent.%I partition of idempotent.%I '
                'for values with (modulus %s, remainder %s)',
                name || '_' || part, name, parts, part);
        end loop;
    end loop;

    drop table idempotent.one_steps, idempotent.one_leases;
    execute 'create view idempotent.keys as ' || keys;
end $$;
