//! The contract suite, with handles of several pools.

use idempotent_runtime::StorageKey;
use idempotent_sqlx::{
    PostgresStore,
    sqlx::{AssertSqlSafe, PgPool, query},
};
use idempotent_testkit::{Capabilities, Garbage, Harness};

use crate::{
    kit::{Mode, Schema},
    used::{Free, Used},
};

struct Postgres {
    schema: Used,
    admin: PgPool,
}

impl Postgres {
    async fn new(mode: Mode) -> Option<Self> {
        static FREE: [Free; 3] = [const { Free::new() }; 3];
        let schema = FREE[mode as usize].take(|| Schema::new(mode)).await?;
        Some(Self { admin: schema.pool(1), schema })
    }
}

impl Harness for Postgres {
    type Store = PostgresStore;

    async fn store(&self) -> PostgresStore {
        self.schema.store()
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        let changes: &[_] = match garbage {
            Garbage::Fingerprint => {
                &[("leases", "fingerprint = '\\x00'"), ("records", "fingerprint = '\\x00'")]
            }
            Garbage::Metadata => &[("records", "metadata = '{\"kind\":\"resp\"}'")],
            Garbage::State => &[("leases", "attempt = -1, token = -1")],
            // The types and the check of the columns let nothing else in.
            _ => return false,
        };
        let mut rows = 0;
        for (table, change) in changes {
            let sql = format!("update {}.{table} set {change} where key = $1", self.schema.name);
            let key = &key.as_bytes()[..];
            let done = query(AssertSqlSafe(sql)).bind(key).execute(&self.admin).await;
            rows += done.unwrap().rows_affected();
        }
        rows > 0
    }

    fn capabilities(&self) -> Capabilities {
        let all = Capabilities::default().isolated(true);
        // The races are the same; once at full size is enough.
        if self.schema.mode == Mode::Prepared { all } else { all.races(16, 100) }
    }
}

mod prepared {
    use super::{Mode, Postgres};

    idempotent_testkit::conformance!(Postgres::new(Mode::Prepared).await);
}

mod without_prepared_statements {
    use super::{Mode, Postgres};

    idempotent_testkit::conformance!(Postgres::new(Mode::Unprepared).await);
}

mod serializable_by_default {
    use super::{Mode, Postgres};

    idempotent_testkit::conformance!(Postgres::new(Mode::Serializable).await);
}
