//! The outbox in SQLite.

use sqlx::{
    AssertSqlSafe, Row as _, Sqlite, SqliteConnection, SqlitePool,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    database::{Backend, Names, Sql, Step, Value},
    error::OutboxError,
};

impl Backend for Sqlite {
    /// A transaction that reads first and then writes fails at once where another one writes.
    const BEGIN: &'static str = "begin immediate";

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
            messages: format!("\"{name}\""),
            slots: format!("\"{name}_slots\""),
        }
    }

    async fn migrate(pool: &SqlitePool, names: &Names) -> Result<(), OutboxError> {
        let mut transaction = pool.begin_with(Self::BEGIN).await?;
        let tables = names.fill(include_str!("sql/sqlite.sql"));
        sqlx::raw_sql(AssertSqlSafe(tables)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn execute(
        connection: &mut SqliteConnection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> Result<u64, sqlx::Error> {
        Ok(bound(sql, values).execute(connection).await?.rows_affected())
    }

    async fn rows(
        connection: &mut SqliteConnection,
        sql: Sql,
        values: &[Value<'_>],
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        bound(sql, values).fetch_all(connection).await
    }

    fn int(row: &SqliteRow, at: usize) -> Result<i64, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(at)?.unwrap_or_default())
    }

    fn text(row: &SqliteRow, at: usize) -> Result<String, sqlx::Error> {
        Ok(row.try_get::<Option<String>, _>(at)?.unwrap_or_default())
    }

    fn bytes(row: &SqliteRow, at: usize) -> Result<Vec<u8>, sqlx::Error> {
        row.try_get(at)
    }
}

/// Arguments of SQLite own what they hold.
fn bound(sql: Sql, values: &[Value<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    let query = sqlx::query(AssertSqlSafe(sql.text)).persistent(sql.prepared);
    values.iter().fold(query, |query, value| match *value {
        Value::Int(number) => query.bind(number),
        Value::Text(text) => query.bind(text.to_owned()),
        Value::Bytes(bytes) => query.bind(bytes.to_owned()),
    })
}

/// The clock, in microseconds since 1970.
macro_rules! now {
    () => {
        "cast((julianday('now') - 2440587.5) * 86400000000 as integer)"
    };
}

/// Whether nothing at or before message `m` blocks its partition.
macro_rules! unblocked {
    () => {
        concat!(
            "not exists (select 1 from {messages} b where b.partition_key = m.partition_key
                and b.seq <= m.seq and b.blocked_until is not null and b.blocked_until > ",
            now!(),
            ")"
        )
    };
}

/// Whether slot `s` is free and has something to publish.
macro_rules! due {
    () => {
        concat!(
            "s.leased_until <= ",
            now!(),
            " and exists (select 1 from {messages} m
                where m.slot = s.slot and m.state = 'pending' and ",
            unblocked!(),
            ")"
        )
    };
}

const INSERT: &str = "
insert into {messages} (id, topic, partition_key, slot, headers, payload)
values (?1, ?2, ?3, ?4, ?5, ?6)
on conflict (id) do nothing";

const SAME: &str = "
select topic = ?2 and partition_key = ?3 and headers = ?4 and payload = ?5
from {messages} where id = ?1";

const DUE: &str = concat!("select 1 from {slots} s where ", due!(), " limit 1");

const CLAIM: &str = concat!(
    "update {slots} set relay = ?1, fence = fence + 1, leased_until = ?2 + ",
    now!(),
    " where slot in (select s.slot from {slots} s where ",
    due!(),
    " order by s.leased_until limit ?3) returning slot, fence"
);

const FETCH: &str = concat!(
    "select slot, id, topic, partition_key, headers, payload, attempts, ",
    now!(),
    " - created_at
from (
    select m.*, row_number() over (partition by m.slot order by m.seq) as place
    from {messages} m
    where m.slot in (select value from json_each(?1)) and m.state = 'pending' and ",
    unblocked!(),
    ") where place <= ?2 order by slot, seq"
);

// Not fenced: that the broker has the message is true whoever says it.
const PUBLISHED: &str = concat!(
    "update {messages} set state = 'published', blocked_until = null, attempts = attempts + 1,
        error = null, settled_at = ",
    now!(),
    " where id in (select value from json_each(?1)) and state in ('pending', 'dead')"
);

const FAILED: &str = concat!(
    "update {messages} as m
set attempts = m.attempts + 1, error = f.error, failed_at = ",
    now!(),
    ", state = case when f.dead then 'dead' else 'pending' end,
    blocked_until = case when f.blocks then 9223372036854775807 when not f.dead then f.pause + ",
    now!(),
    " end
from (
    select value ->> 'id' as id, value ->> 'slot' as slot, value ->> 'fence' as fence,
        value ->> 'dead' as dead, value ->> 'blocks' as blocks, value ->> 'pause' as pause,
        value ->> 'error' as error
    from json_each(?1)
) f
join {slots} s on s.slot = f.slot and s.fence = f.fence
where m.id = f.id and m.state = 'pending'"
);

const RELEASE: &str = concat!(
    "update {slots} as s set relay = null, fence = s.fence + 1, leased_until = ",
    now!(),
    " from (select value ->> 'slot' as slot, value ->> 'fence' as fence from json_each(?1)) r
where s.slot = r.slot and s.fence = r.fence"
);

const STATUS: &str = concat!(
    "select
    (select count(*) from {messages} where state = 'pending'),
    (select count(*) from {messages}
        where state = 'pending' and blocked_until is not null and blocked_until > ",
    now!(),
    "),
    (select count(*) from {messages} where state = 'dead'),
    (select ",
    now!(),
    " - min(oldest) from (select (
        select created_at from {messages} m
        where m.slot = s.slot and m.state = 'pending' order by m.seq limit 1
    ) as oldest from {slots} s))"
);

const DEAD: &str = concat!(
    "select slot, id, topic, partition_key, headers, payload, attempts, ",
    now!(),
    " - created_at, error, ",
    now!(),
    " - failed_at from {messages} where state = 'dead' order by failed_at limit ?1"
);

const RETRY: &str = "
update {messages} set state = 'pending', attempts = 0, blocked_until = null
where id = ?1 and state = 'dead'";

const DISCARD: &str = concat!(
    "update {messages} set state = 'discarded', blocked_until = null, settled_at = ",
    now!(),
    " where id = ?1 and state = 'dead'"
);

const PURGE: &str = concat!(
    "delete from {messages} where seq in (
    select seq from {messages} where settled_at is not null and settled_at <= ",
    now!(),
    " - ?1 order by settled_at limit ?2)"
);
