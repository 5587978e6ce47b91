//! Clients without a store: the same commands, the same drivers, and nothing else.

use idempotent_redis::redis::{
    self, Client, Script,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use idempotent_runtime::Record;
use idempotent_sqlx::sqlx::{self, PgPool, Row as _};

use crate::{Contender, LEASE, Request, TTL};

macro_rules! script {
    ($name:literal) => {
        concat!(
            include_str!("../../../idempotent-redis/src/scripts/common.lua"),
            include_str!(concat!("../../../idempotent-redis/src/scripts/", $name)),
        )
    };
}

/// `EVALSHA` of the store's own scripts over one connection.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: ConnectionManager,
    acquire: String,
    complete: String,
}

impl Redis {
    pub(crate) async fn connect(url: &str) -> Self {
        let client = Client::open(format!("{url}?protocol=resp3")).unwrap();
        let config = ConnectionManagerConfig::new().set_pipeline_buffer_size(1024);
        let mut connection = ConnectionManager::new_with_config(client, config).await.unwrap();
        let [acquire, complete] =
            [script!("acquire.lua"), script!("complete.lua")].map(Script::new);
        for script in [&acquire, &complete] {
            script.prepare_invoke().load_async(&mut connection).await.unwrap();
        }
        let [acquire, complete] = [acquire, complete].map(|script| script.get_hash().to_owned());
        Self { connection, acquire, complete }
    }
}

impl Contender for Redis {
    async fn call(&self, request: &Request, record: &Record) -> bool {
        let mut connection = self.connection.clone();
        let key = format!("idempotent:{{{}}}", request.key);
        let (fingerprint, lease_id) =
            (request.fingerprint.to_string(), request.lease_id.to_string());
        let (lease, ttl) = (LEASE.as_micros().to_string(), TTL.as_micros().to_string());
        let acquired: Vec<redis::Value> = redis::cmd("EVALSHA")
            .arg(&self.acquire)
            .arg(1)
            .arg(&key)
            .arg(&fingerprint)
            .arg(&lease_id)
            .arg(&lease)
            .arg(&ttl)
            .arg(1)
            .arg(NUMBER)
            .query_async(&mut connection)
            .await
            .unwrap();
        let word: String = redis::from_redis_value(acquired[1].clone()).unwrap();
        if word != "granted" {
            assert_eq!(word, "completed");
            return false;
        }
        let token: String = redis::from_redis_value(acquired[2].clone()).unwrap();
        let completed: (String, String) = redis::cmd("EVALSHA")
            .arg(&self.complete)
            .arg(1)
            .arg(&key)
            .arg(&lease_id)
            .arg(&token)
            .arg(&fingerprint)
            .arg(&ttl)
            .arg(METADATA)
            .arg(&record.body()[..])
            .arg(NUMBER)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(completed.1, "ok");
        true
    }
}

/// What the store tells answers apart by.
const NUMBER: u64 = 7;
/// What the store makes of the record's status and headers.
const METADATA: &str =
    r#"{"kind":"response","status":201,"headers":[["content-type","application/json"]]}"#;

/// The store's own functions through a pool of the same size.
#[derive(Clone)]
pub(crate) struct Postgres(pub(crate) PgPool);

const ACQUIRE: &str = "select * from idempotent.acquire_v1($1, $2, $3, $4, $5, $6)";
const COMPLETE: &str = "select * from idempotent.complete_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)";

impl Contender for Postgres {
    async fn call(&self, request: &Request, record: &Record) -> bool {
        let (lease, ttl) = [LEASE, TTL].map(|span| span.as_micros().try_into().unwrap()).into();
        let (lease, ttl): (i64, i64) = (lease, ttl);
        let acquired = sqlx::query(ACQUIRE)
            .bind(&request.key.as_bytes()[..])
            .bind(&request.fingerprint.as_bytes()[..])
            .bind(&request.lease_id.as_bytes()[..])
            .bind(lease)
            .bind(ttl)
            .bind(true)
            .fetch_one(&self.0)
            .await
            .unwrap();
        let word: &str = acquired.get(0);
        if word != "granted" {
            assert_eq!(word, "completed");
            return false;
        }
        let token: i64 = acquired.get(1);
        let completed = sqlx::query(COMPLETE)
            .bind(&request.key.as_bytes()[..])
            .bind(&request.lease_id.as_bytes()[..])
            .bind(token)
            .bind(&request.fingerprint.as_bytes()[..])
            .bind(201_i16)
            .bind(METADATA)
            .bind(&record.body()[..])
            .bind(ttl)
            .bind(false)
            .fetch_one(&self.0)
            .await
            .unwrap();
        assert_eq!(completed.get::<&str, _>(0), "ok");
        true
    }
}
