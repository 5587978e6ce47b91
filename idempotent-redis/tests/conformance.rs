//! The store contract, on one server and on a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use idempotent_redis::RedisStore;
use idempotent_runtime::StorageKey;
use idempotent_servers::RedisServer;
use idempotent_testkit::{Capabilities, Garbage, Harness};

struct Redis {
    url: &'static str,
}

impl Redis {
    fn shared() -> Option<Self> {
        RedisServer::shared().map(|url| Self { url })
    }
}

impl Harness for Redis {
    type Store = RedisStore;

    async fn store(&self) -> RedisStore {
        RedisStore::builder().prefix("conformance:").connect(self.url).await.unwrap()
    }

    async fn corrupt(&self, key: &StorageKey, garbage: Garbage) -> bool {
        let key = format!("conformance:{{{key}}}");
        let client = redis::Client::open(self.url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let state: Option<String> =
            redis::cmd("HGET").arg(&key).arg("state").query_async(&mut connection).await.unwrap();
        let mut run = redis::pipe();
        match garbage {
            Garbage::Fingerprint => run.hset(&key, "fingerprint", "c0ffee"),
            Garbage::Foreign => run.del(&key).set(&key, "somebody else's"),
            Garbage::Metadata if state.as_deref() == Some("completed") => {
                run.hset(&key, "metadata", r#"{"kind":"resp"#)
            }
            Garbage::State => run.hset(&key, "token", "a lot"),
            _ => return false,
        };
        run.exec_async(&mut connection).await.unwrap();
        true
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default().purges(false)
    }
}

mod one_server {
    use super::*;

    idempotent_testkit::conformance!(Redis::shared());
}
