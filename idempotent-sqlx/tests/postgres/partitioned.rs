//! The contract suite over tables in parts, made by the SQL of the runtime's page on stores.

use idempotent_sqlx::{
    PostgresStore,
    sqlx::{AssertSqlSafe, raw_sql},
};
use idempotent_testkit::{Capabilities, Harness};

use crate::{
    kit::{Mode, Schema},
    used::{Free, Used},
};

const SQL: &str = include_str!("../../../idempotent-runtime/src/stores/partitioned.sql");

struct Partitioned(Used);

impl Partitioned {
    async fn new() -> Option<Self> {
        static FREE: Free = Free::new();
        FREE.take(Self::schema).await.map(Self)
    }

    async fn schema() -> Option<Schema> {
        let schema = Schema::new(Mode::Prepared).await?;
        let sql = SQL.replace("idempotent.", &format!("{}.", schema.name));
        raw_sql(AssertSqlSafe(sql)).execute(&schema.pool(1)).await.unwrap();
        Some(schema)
    }
}

impl Harness for Partitioned {
    type Store = PostgresStore;

    async fn store(&self) -> PostgresStore {
        self.0.store()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().isolated(true).races(16, 100)
    }
}

idempotent_testkit::conformance!(Partitioned::new().await);
