//! Schemas that one check after the other has for itself: to make one takes longer than most checks.

use std::{
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use idempotent_sqlx::sqlx::{AssertSqlSafe, query, raw_sql};

use crate::kit::{Schema, WeakSchema};

/// Those of one kind that nobody has at the moment.
pub(crate) struct Free(Mutex<Vec<WeakSchema>>);

impl Free {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// One that holds nothing, and that nobody else has until it is dropped.
    pub(crate) async fn take(
        &'static self,
        make: impl AsyncFnOnce() -> Option<Schema>,
    ) -> Option<Used> {
        let schema = match self.free() {
            Some(schema) => {
                empty(&schema).await;
                schema
            }
            None => make().await?,
        };
        Some(Used { schema, goes_to: self })
    }

    fn free(&self) -> Option<Schema> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of a database that is gone are gone with it.
        std::iter::from_fn(|| free.pop()).find_map(WeakSchema::upgrade)
    }
}

/// Ends what the last check has left running, and takes what it has left behind.
async fn empty(schema: &Schema) {
    let admin = schema.pool(1);
    query(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity \
        where pid <> pg_backend_pid() and application_name = $1",
    )
    .bind(&schema.name)
    .execute(&admin)
    .await
    .unwrap();
    // Records and steps go with the leases.
    let rows = format!("delete from {0}.records; delete from {0}.leases", schema.name);
    raw_sql(AssertSqlSafe(rows)).execute(&admin).await.unwrap();
}

/// The schema of one check.
pub(crate) struct Used {
    schema: Schema,
    goes_to: &'static Free,
}

impl Deref for Used {
    type Target = Schema;

    fn deref(&self) -> &Schema {
        &self.schema
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        let mut free = self.goes_to.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(self.schema.downgrade());
    }
}
