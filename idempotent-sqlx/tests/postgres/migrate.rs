//! `migrate`, by whoever and however many.

use idempotent_runtime::{Store as _, StoreError};
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{AssertSqlSafe, query_scalar, raw_sql},
};
use tokio::task::JoinSet;

use crate::kit::{LONG, Mode, Schema, acquire, granted, key};

#[tokio::test(flavor = "multi_thread")]
async fn ten_processes_migrate_at_once_and_again() {
    for mode in [Mode::Prepared, Mode::Serializable] {
        let Some(schema) = Schema::empty(mode) else { return };
        for _ in 0..2 {
            let mut processes = JoinSet::new();
            for _ in 0..10 {
                let store = schema.store();
                processes.spawn(async move { store.migrate().await });
            }
            while let Some(migrated) = processes.join_next().await {
                migrated.unwrap().unwrap();
            }
        }
        let versions = format!("select count(*) from {}.migrations", schema.name);
        let versions = query_scalar::<_, i64>(AssertSqlSafe(versions));
        assert_eq!(versions.fetch_one(&schema.pool(1)).await.unwrap(), 1);
        granted(&schema.store(), &key(), LONG).await;
    }
}

#[tokio::test]
async fn without_migrate_the_answer_says_so() {
    let Some(schema) = Schema::empty(Mode::Prepared) else { return };
    let refused = acquire(&schema.store(), &key(), LONG).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(source.contains("call `migrate`"), "{source}");
}

/// An application's role owns nothing, and may not create anything.
#[tokio::test]
async fn a_role_with_the_least_privileges_migrates_what_is_there_and_works() {
    let Some(schema) = Schema::new(Mode::Prepared).await else { return };
    let (owner, name) = (schema.pool(1), &schema.name);
    let grant = format!(
        "create role {name}_app; \
        grant usage on schema {name} to {name}_app; \
        grant select, insert, update, delete on all tables in schema {name} to {name}_app"
    );
    raw_sql(AssertSqlSafe(grant)).execute(&owner).await.unwrap();
    let pool = schema.pool(1);
    raw_sql(AssertSqlSafe(format!("set role {name}_app"))).execute(&pool).await.unwrap();
    let store = PostgresStore::builder().schema(name).pool(pool.clone());
    store.migrate().await.unwrap();
    let lease = granted(&store, &key(), LONG).await;
    store.release(&lease, LONG).await.unwrap();
    store.forget(&lease.key, false).await.unwrap();
    store.purge_expired(1).await.unwrap();
    let drop_role = format!("reset role; drop owned by {name}_app; drop role {name}_app");
    raw_sql(AssertSqlSafe(drop_role)).execute(&pool).await.unwrap();
}

#[test]
#[should_panic(expected = "is not made of lower-case letters")]
fn a_schema_that_would_need_quotes_is_refused() {
    let _ = PostgresStore::builder().schema("a\"; drop table payments; --");
}

#[tokio::test]
async fn a_url_that_is_none_is_refused() {
    let refused = PostgresStore::connect("mysql://localhost").await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
}
