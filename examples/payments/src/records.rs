//! Where idempotency keys and recorded answers are: one of the stores, and the runtime over it.

use std::time::Duration;

use idempotent_redis::RedisStore;
use idempotent_runtime::{Idempotency, MemoryStore, Store, StoreError};
use idempotent_sqlx::{PostgresStore, SqliteStore};

use crate::{
    options::{Database, Options, Store as Records},
    startup::StartError,
};

/// How often expired records are removed from a database. The other stores do it by themselves.
const PURGE_EVERY: Duration = Duration::from_mins(1);

/// Opens the store that `options` name. One in the database of the payments has connections of its
/// own: it must be able to answer while all others are in transactions of handlers.
pub(crate) async fn open(options: &Options) -> Result<Idempotency, StartError> {
    match (options.store(), &options.database) {
        (Records::Memory, _) | (Records::Database, Database::Memory) => {
            runtime(MemoryStore::new(), options)
        }
        (Records::Database, Database::Sqlite(url)) => {
            let store = sqlite(url).await.map_err(|error| StartError::sqlite(url, &error))?;
            runtime(store, options)
        }
        (Records::Database, Database::Postgres(url)) => {
            let store = postgres(url).await.map_err(|error| StartError::postgres(url, &error))?;
            runtime(store, options)
        }
        (Records::Redis(url), _) => {
            let store = RedisStore::builder().prefix(&*options.prefix).connect(&*url).await;
            runtime(store.map_err(|error| StartError::redis(&url, &error))?, options)
        }
    }
}

fn runtime(store: impl Store, options: &Options) -> Result<Idempotency, StartError> {
    let builder = Idempotency::builder(store).lease(*options.lease).wait(*options.wait);
    Ok(builder.build()?)
}

async fn sqlite(url: &str) -> Result<SqliteStore, StoreError> {
    let store = SqliteStore::connect(url).await?;
    store.migrate().await?;
    store.spawn_purger(PURGE_EVERY).detach();
    Ok(store)
}

async fn postgres(url: &str) -> Result<PostgresStore, StoreError> {
    let store = PostgresStore::connect(url).await?;
    store.migrate().await?;
    store.spawn_purger(PURGE_EVERY).detach();
    Ok(store)
}
