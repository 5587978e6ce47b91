//! The contract suite, with handles that share nothing but the file.

use idempotent_runtime::StorageKey;
use idempotent_sqlx::{
    SqliteStore,
    sqlx::{AssertSqlSafe, query},
};
use idempotent_testkit::{Capabilities, Garbage, Harness};

use crate::kit::File;

struct Sqlite(File);

impl Harness for Sqlite {
    type Store = SqliteStore;

    async fn store(&self) -> SqliteStore {
        self.0.store().await
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        let (table, change) = match garbage {
            Garbage::Fingerprint => ("leases", "fingerprint = x'00'"),
            Garbage::Metadata => {
                ("records", "metadata = substr(metadata, 1, length(metadata) / 2)")
            }
            Garbage::State => ("leases", "attempt = -1, token = -1"),
            // The types and the check of the columns let nothing else in.
            _ => return false,
        };
        let sql = format!("update idempotent_{table} set {change} where key = ?1");
        let pool = self.0.pool(1);
        let done = query(AssertSqlSafe(sql)).bind(&key.as_bytes()[..]).execute(&pool).await;
        done.unwrap().rows_affected() == 1
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().isolated(true)
    }
}

idempotent_testkit::conformance!(Sqlite(File::new().await));
