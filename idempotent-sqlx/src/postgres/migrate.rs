//! Creates what the store needs in its schema.

use idempotent_runtime::StoreError;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{error, error::PostgresError};

/// The scripts of each version, in their order. A version that was published is never changed: a
/// changed function gets a new name, so that processes of both versions run beside each other.
const VERSIONS: &[&[&str]] = &[&[
    include_str!("sql/schema.sql"),
    include_str!("sql/helpers.sql"),
    include_str!("sql/acquire.sql"),
    include_str!("sql/complete.sql"),
    include_str!("sql/lease.sql"),
    include_str!("sql/steps.sql"),
    include_str!("sql/inspect.sql"),
    include_str!("sql/forget.sql"),
]];

/// Idempotent, and safe when many processes do it at once: they take their turns.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    // A role that may use the tables but not create them gets along where all is done.
    if applied(connection, schema).await.is_ok_and(|version| version >= VERSIONS.len()) {
        return Ok(());
    }
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    let lock = "select pg_advisory_xact_lock(hashtextextended('idempotent ' || {name}, 0))";
    run(&mut transaction, schema, lock).await?;
    // `create schema if not exists` would ask for a privilege even where it exists.
    let create = "do $$ begin \
        if not exists (select from pg_namespace where nspname = {name}) then \
            create schema {schema}; \
        end if; \
    end $$";
    run(&mut transaction, schema, create).await?;
    let is_there = format!("select to_regclass('\"{schema}\".migrations') is not null");
    let done = match sqlx::raw_sql(AssertSqlSafe(is_there)).fetch_one(&mut *transaction).await? {
        row if sqlx::Row::try_get::<bool, _>(&row, 0)? => applied(&mut transaction, schema).await?,
        _ => 0,
    };
    for (version, scripts) in VERSIONS.iter().enumerate().skip(done) {
        for script in *scripts {
            run(&mut transaction, schema, script).await?;
        }
        let applied =
            format!("insert into {{schema}}.migrations (version) values ({})", version + 1);
        run(&mut transaction, schema, &applied).await?;
    }
    transaction.commit().await
}

/// How many versions have been applied.
async fn applied(connection: &mut PgConnection, schema: &str) -> Result<usize, sqlx::Error> {
    let sql = format!("select count(*) from \"{schema}\".migrations");
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    let count: i64 = sqlx::Row::try_get(&row, 0)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

async fn run(connection: &mut PgConnection, schema: &str, sql: &str) -> Result<(), sqlx::Error> {
    let sql =
        sql.replace("{schema}", &format!("\"{schema}\"")).replace("{name}", &format!("'{schema}'"));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// What the caller of `migrate` is told.
pub(super) fn told(error: sqlx::Error) -> StoreError {
    match error::code(&error).as_deref() {
        Some("53100") => StoreError::Full,
        _ => PostgresError::Database(error).into(),
    }
}
