//! The outbox in PostgreSQL.

use sqlx::{
    AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};

use super::{
    database::{Backend, Names, Sql, Step, Value},
    error::OutboxError,
};

impl Backend for Postgres {
    const BEGIN: &'static str = "begin isolation level read committed";

    fn template(step: Step) -> &'static str {
        match step {
            Step::Insert => INSERT,
            Step::Same => SAME,
            Step::Due => DUE,
            Step::Claim => CLAIM,
            Step::Fetch => FETCH,
            Step::Published => PUBLISHED,
            Step::Failed => FAILED,
            Step::Release => RELEASE,
            Step::Status => STATUS,
            Step::Dead => DEAD,
            Step::Retry => RETRY,
            Step::Discard => DISCARD,
            Step::Purge => PURGE,
        }
    }

    fn names(schema: &str, name: &str) -> Names {
        Names {
            schema: schema.to_owned(),
            name: name.to_owned(),
            messages: format!("\"{schema}\".\"{name}\""),
            slots: format!("\"{schema}\".\"{name}_slots\""),
        }
    }

    async fn migrate(pool: &PgPool, names: &Names) -> Result<(), OutboxError> {
        // A role that may use the tables but not create them gets along where all is done.
        let done = format!("select to_regclass('{}') is not null", names.slots);
        let is_there = async |connection: &mut PgConnection| -> Result<bool, sqlx::Error> {
            sqlx::raw_sql(AssertSqlSafe(done.clone())).fetch_one(connection).await?.try_get(0)
        };
        if is_there(&mut *pool.acquire().await?).await? {
            return Ok(());
        }
        let mut transaction = pool.begin_with(Self::BEGIN).await?;
        // Who comes at the same time waits here, and finds all done. The stores of this schema take
        // the same lock to create it.
        let schema = &names.schema;
        let prepare = format!(
            "select pg_advisory_xact_lock(hashtextextended('idempotent {schema}', 0));
            do $$ begin
                if not exists (select from pg_namespace where nspname = '{schema}') then
                    create schema \"{schema}\";
                end if;
            end $$"
        );
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *transaction).await?;
        if !is_there(&mut transaction).await? {
            let tables = names.fill(include_str!("sql/postgres.sql"));
            sqlx::raw_sql(AssertSqlSafe(tables)).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn execute(
        connection: &mut PgConnection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(bound(sql, values).execute(connection).await?.rows_affected())
    }

    async fn rows(
        connection: &mut PgConnection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        bound(sql, values).fetch_all(connection).await
    }

    fn int(row: &PgRow, at: usize) -> Result<i64, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(at)?.unwrap_or_default())
    }

    fn text(row: &PgRow, at: usize) -> Result<String, sqlx::Error> {
        Ok(row.try_get::<Option<String>, _>(at)?.unwrap_or_default())
    }

    fn bytes(row: &PgRow, at: usize) -> Result<Vec<u8>, sqlx::Error> {
        row.try_get(at)
    }
}

fn bound<'q>(sql: Sql, values: &[Value<'q>]) -> Query<'q, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(sql.text)).persistent(sql.prepared);
    values.iter().fold(query, |query, value| match *value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

const INSERT: &str = "
insert into {messages} (id, topic, partition_key, slot, headers, payload)
values ($1, $2, $3, $4, $5::text::json, $6)
on conflict (id) do nothing";

const SAME: &str = "
select (topic = $2 and partition_key = $3 and headers::text = $4 and payload = $5)::int::bigint
from {messages} where id = $1";

// `offset 0` keeps each look a probe of its index, whatever the planner believes about tables whose
// content comes and goes.
const DUE: &str = "
select 1::bigint from {slots} s
where s.leased_until <= clock_timestamp() and exists (
    select from {messages} m
    where m.slot = s.slot and m.state = 'pending' and not exists (
        select from {messages} b
        where b.partition_key = m.partition_key and b.seq <= m.seq
            and b.blocked_until is not null and b.blocked_until > clock_timestamp()
        offset 0)
    offset 0)
limit 1";

// Least recently served first.
const CLAIM: &str = "
with free as (
    select s.slot from {slots} s
    where s.leased_until <= clock_timestamp() and exists (
        select from {messages} m
        where m.slot = s.slot and m.state = 'pending' and not exists (
            select from {messages} b
            where b.partition_key = m.partition_key and b.seq <= m.seq
                and b.blocked_until is not null and b.blocked_until > clock_timestamp()
            offset 0)
        offset 0)
    order by s.leased_until
    limit $3
    for update of s skip locked
)
update {slots} s
set relay = $1, fence = s.fence + 1,
    leased_until = clock_timestamp() + $2 * interval '1 microsecond'
from free where s.slot = free.slot
returning s.slot::bigint, s.fence";

const FETCH: &str = "
select m.slot::bigint, m.id, m.topic, m.partition_key, m.headers::text, m.payload,
    m.attempts::bigint,
    (extract(epoch from clock_timestamp() - m.created_at) * 1000000)::bigint
from json_array_elements_text($1::text::json) s (slot)
cross join lateral (
    select * from {messages} m
    where m.slot = s.slot::smallint and m.state = 'pending' and not exists (
        select from {messages} b
        where b.partition_key = m.partition_key and b.seq <= m.seq
            and b.blocked_until is not null and b.blocked_until > clock_timestamp()
        offset 0)
    order by m.seq
    limit $2
) m
order by m.slot, m.seq";

// Not fenced: that the broker has the message is true whoever says it.
const PUBLISHED: &str = "
update {messages} m
set state = 'published', settled_at = clock_timestamp(), blocked_until = null,
    attempts = m.attempts + 1, error = null
from json_array_elements_text($1::text::json) p (id)
where m.id = p.id and m.state in ('pending', 'dead')";

const FAILED: &str = "
update {messages} m
set attempts = m.attempts + 1, error = f.error, failed_at = clock_timestamp(),
    state = case when f.dead then 'dead' else 'pending' end,
    blocked_until = case
        when f.blocks then 'infinity'
        when not f.dead then clock_timestamp() + f.pause * interval '1 microsecond'
    end
from json_to_recordset($1::text::json)
    as f (id text, slot smallint, fence bigint, dead boolean, blocks boolean, pause bigint, error text)
join {slots} s on s.slot = f.slot and s.fence = f.fence
where m.id = f.id and m.state = 'pending'";

const RELEASE: &str = "
update {slots} s set leased_until = clock_timestamp(), relay = null, fence = s.fence + 1
from json_to_recordset($1::text::json) as r (slot smallint, fence bigint)
where s.slot = r.slot and s.fence = r.fence";

const STATUS: &str = "
select
    (select count(*) from {messages} where state = 'pending'),
    (select count(*) from {messages}
        where state = 'pending' and blocked_until is not null and blocked_until > clock_timestamp()),
    (select count(*) from {messages} where state = 'dead'),
    (select (extract(epoch from clock_timestamp() - min(m.created_at)) * 1000000)::bigint
        from {slots} s cross join lateral (
            select created_at from {messages} m
            where m.slot = s.slot and m.state = 'pending' order by m.seq limit 1
        ) m)";

const DEAD: &str = "
select slot::bigint, id, topic, partition_key, headers::text, payload, attempts::bigint,
    (extract(epoch from clock_timestamp() - created_at) * 1000000)::bigint,
    error,
    (extract(epoch from clock_timestamp() - failed_at) * 1000000)::bigint
from {messages} where state = 'dead' order by failed_at limit $1";

const RETRY: &str = "
update {messages} set state = 'pending', attempts = 0, blocked_until = null
where id = $1 and state = 'dead'";

const DISCARD: &str = "
update {messages} set state = 'discarded', settled_at = clock_timestamp(), blocked_until = null
where id = $1 and state = 'dead'";

// The subselect makes the deadline one value, which an index can be asked for.
const PURGE: &str = "
delete from {messages} where id in (
    select id from {messages}
    where settled_at <= (select clock_timestamp() - $1 * interval '1 microsecond')
    order by settled_at limit $2
    for update skip locked)";
