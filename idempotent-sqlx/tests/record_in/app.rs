//! The application: a ledger in a database, a store in the same, and a handler that does what a test
//! says.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::post,
};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use idempotent_runtime::{
    AcquireRequest, Acquired, Attempt, Idempotency, LeaseId, Metadata, Record, Store, idempotent,
};
use idempotent_servers::{Answers, Proxy};
use idempotent_sqlx::{
    PostgresStore, RecordIn as _, SqliteStore, Transactional, sqlite,
    sqlx::{
        self, AssertSqlSafe, PgPool, Postgres, Sqlite, SqlitePool, Transaction,
        postgres::PgConnectOptions, raw_sql,
    },
};
use tower::ServiceExt as _;

use crate::{
    file::File,
    kit::{Mode, Schema},
};

/// A database with a table of payments and a store.
pub(crate) trait Ledger: Clone + Send + Sync + 'static {
    type Db: Transactional;
    type Store: Store + Clone;

    fn begin(&self) -> impl Future<Output = Transaction<'static, Self::Db>> + Send;
    fn pay(
        &self,
        tx: &mut Transaction<'_, Self::Db>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// A statement that fails.
    fn fail(&self, tx: &mut Transaction<'_, Self::Db>) -> impl Future<Output = ()> + Send;
    /// The connection breaks: before the next statement, or before its answer arrives.
    fn breaks(&self, _before_its_answer: bool) {}
    fn payments(&self) -> impl Future<Output = i64> + Send;
    fn store(&self) -> impl Future<Output = Self::Store> + Send;
}

#[derive(Clone)]
pub(crate) struct OnPostgres {
    schema: Schema,
    pool: PgPool,
    /// Before the application's pool, not before the store's.
    proxy: Option<Arc<Proxy>>,
}

impl OnPostgres {
    pub(crate) async fn new() -> Option<Self> {
        let schema = Schema::new(Mode::Prepared).await?;
        let pool = schema.pool(4);
        Some(Self::with(schema, pool, None).await)
    }

    pub(crate) async fn behind_a_proxy() -> Option<Self> {
        let schema = Schema::new(Mode::Prepared).await?;
        let options: PgConnectOptions = schema.database().url().parse().unwrap();
        let proxy = Proxy::new(format!("{}:{}", options.get_host(), options.get_port()));
        let pool = PgPool::connect_lazy(&proxy.url(schema.database().url())).unwrap();
        Some(Self::with(schema, pool, Some(Arc::new(proxy))).await)
    }

    async fn with(schema: Schema, pool: PgPool, proxy: Option<Arc<Proxy>>) -> Self {
        let table = format!("create table {}.payments (id text)", schema.name);
        raw_sql(AssertSqlSafe(table)).execute(&pool).await.unwrap();
        Self { schema, pool, proxy }
    }
}

impl Ledger for OnPostgres {
    type Db = Postgres;
    type Store = PostgresStore;

    async fn begin(&self) -> Transaction<'static, Postgres> {
        self.pool.begin().await.unwrap()
    }

    async fn pay(&self, tx: &mut Transaction<'_, Postgres>) -> Result<(), sqlx::Error> {
        let pay = format!("insert into {}.payments values ('paid')", self.schema.name);
        sqlx::query(AssertSqlSafe(pay)).execute(&mut **tx).await.map(drop)
    }

    async fn fail(&self, tx: &mut Transaction<'_, Postgres>) {
        sqlx::query("select 1 / 0").execute(&mut **tx).await.unwrap_err();
    }

    fn breaks(&self, before_its_answer: bool) {
        let proxy = self.proxy.as_ref().unwrap();
        match before_its_answer {
            true => proxy.lose_answers(1, Answers::Cut),
            false => proxy.cut(),
        }
    }

    async fn payments(&self) -> i64 {
        let count = format!("select count(*) from {}.payments", self.schema.name);
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&self.pool).await.unwrap()
    }

    async fn store(&self) -> PostgresStore {
        self.schema.store()
    }
}

#[derive(Clone)]
pub(crate) struct OnSqlite {
    file: File,
    pool: SqlitePool,
}

impl OnSqlite {
    pub(crate) async fn new() -> Self {
        let file = File::new().await;
        let pool = file.pool(4);
        raw_sql("create table payments (id text)").execute(&pool).await.unwrap();
        Self { file, pool }
    }
}

impl Ledger for OnSqlite {
    type Db = Sqlite;
    type Store = SqliteStore;

    async fn begin(&self) -> Transaction<'static, Sqlite> {
        sqlite::begin_immediate(&self.pool).await.unwrap()
    }

    async fn pay(&self, tx: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
        sqlx::query("insert into payments values ('paid')").execute(&mut **tx).await.map(drop)
    }

    async fn fail(&self, tx: &mut Transaction<'_, Sqlite>) {
        sqlx::query("insert into nowhere values (1)").execute(&mut **tx).await.unwrap_err();
    }

    async fn payments(&self) -> i64 {
        sqlx::query_scalar("select count(*) from payments").fetch_one(&self.pool).await.unwrap()
    }

    async fn store(&self) -> SqliteStore {
        self.file.store().await
    }
}

/// What the first execution of the handler does; all others commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Script {
    /// Pays, records, commits, answers.
    Commits,
    /// Rolls back, and answers as if it had committed.
    RollsBackAndSucceeds,
    /// Rolls back, and answers a failure.
    RollsBackAndFails,
    /// A statement fails after the record was written; commits all the same, and answers success.
    CommitsWhatFailed,
    /// Commits, and answers a failure.
    CommitsAndFails,
    /// Commits, and panics.
    CommitsAndPanics,
    /// Records, and panics in the open transaction.
    Panics,
    /// Records an answer that is not final, commits all the same, and answers success.
    RecordsAFailure,
    /// Records an answer that is too large, commits all the same, and answers success.
    RecordsTooMuch,
    /// Another process takes the lease over before the record is written; commits all the same.
    LosesItsLease,
    /// Leaves its transaction to a task that commits it later, and answers success.
    CommitsLater,
    /// Leaves its transaction to a task that rolls it back later, and answers success.
    RollsBackLater,
    /// The commit is applied, its answer is lost, and the handler answers a failure.
    LosesTheAnswerOfItsCommit,
    /// The connection breaks before the commit, and the handler answers a failure.
    LosesItsConnection,
    /// Records in a transaction of another kind of database.
    RecordsElsewhere,
}

#[derive(Clone)]
pub(crate) struct App<L: Ledger> {
    pub(crate) ledger: L,
    pub(crate) script: Script,
    pub(crate) runs: Arc<AtomicUsize>,
    pub(crate) idempotency: Idempotency,
}

pub(crate) const LATER: Duration = Duration::from_millis(300);
const PAID: StatusCode = StatusCode::CREATED;

#[idempotent(key = header("Idempotency-Key"), ttl = "1h", wait = "5s")]
async fn pay<L: Ledger>(State(app): State<App<L>>, attempt: Attempt) -> Response {
    let nth = app.runs.fetch_add(1, Ordering::SeqCst) + 1;
    let script = if nth == 1 { app.script } else { Script::Commits };
    let paid = || (PAID, format!("paid in execution {nth}"));
    let failed = || StatusCode::SERVICE_UNAVAILABLE.into_response();
    if script == Script::RecordsElsewhere {
        return elsewhere(&app.ledger, &attempt).await;
    }
    if script == Script::LosesItsLease {
        complete_elsewhere(&app.ledger.store().await, &attempt).await;
    }
    let mut tx = app.ledger.begin().await;
    app.ledger.pay(&mut tx).await.unwrap();
    let answer = match script {
        Script::RecordsAFailure => failed(),
        Script::RecordsTooMuch => (PAID, "x".repeat(2 << 20)).into_response(),
        _ => paid().into_response(),
    };
    let recorded = attempt.record_in(&mut tx, answer).await;
    match script {
        Script::Commits => {
            let recorded = recorded.unwrap();
            tx.commit().await.unwrap();
            recorded.into_response()
        }
        Script::RollsBackAndSucceeds => {
            tx.rollback().await.unwrap();
            recorded.unwrap().into_response()
        }
        Script::RollsBackAndFails => {
            tx.rollback().await.unwrap();
            failed()
        }
        Script::CommitsWhatFailed => {
            app.ledger.fail(&mut tx).await;
            let _ = tx.commit().await;
            recorded.unwrap().into_response()
        }
        Script::CommitsAndFails => {
            tx.commit().await.unwrap();
            failed()
        }
        Script::CommitsAndPanics => {
            tx.commit().await.unwrap();
            panic!("after the commit");
        }
        Script::Panics => panic!("before the commit"),
        Script::RecordsAFailure | Script::RecordsTooMuch | Script::LosesItsLease => {
            assert!(recorded.is_err(), "{script:?}");
            if script == Script::LosesItsLease {
                // Not at the next beat, which is a third of a lease away.
                let told = tokio::time::timeout(Duration::from_secs(5), attempt.lease_lost()).await;
                told.expect("told of the loss at once");
            }
            let _ = tx.commit().await;
            paid().into_response()
        }
        Script::LosesTheAnswerOfItsCommit | Script::LosesItsConnection => {
            recorded.unwrap();
            app.ledger.breaks(script == Script::LosesTheAnswerOfItsCommit);
            tx.commit().await.unwrap_err();
            failed()
        }
        Script::CommitsLater | Script::RollsBackLater => {
            tokio::spawn(async move {
                tokio::time::sleep(LATER).await;
                match script {
                    Script::CommitsLater => tx.commit().await.unwrap(),
                    _ => tx.rollback().await.unwrap(),
                }
            });
            recorded.unwrap().into_response()
        }
        Script::RecordsElsewhere => unreachable!(),
    }
}

/// What a process does that took the lease over.
async fn complete_elsewhere(store: &impl Store, attempt: &Attempt) {
    let lease = attempt.recording().unwrap().lease();
    let fingerprint = *store.inspect(&lease.key).await.unwrap().fingerprint().unwrap();
    store.release(lease, LATER).await.unwrap();
    let id = LeaseId::random();
    let request = AcquireRequest::new(&lease.key, &fingerprint, id, Duration::from_mins(1));
    let Ok(Acquired::Granted(lease)) = store.acquire(request).await else { panic!("not granted") };
    let metadata = Metadata::Response { status: PAID, headers: Vec::new(), trailers: Vec::new() };
    let record = Record::new(fingerprint, metadata, "paid by another process".into());
    store.complete(&lease, record, Duration::from_mins(1)).await.unwrap();
}

/// A transaction of SQLite where the store is PostgreSQL, and the other way round.
async fn elsewhere<L: Ledger>(ledger: &L, attempt: &Attempt) -> Response {
    let answer = (PAID, "paid elsewhere");
    let refused = if std::any::TypeId::of::<L>() == std::any::TypeId::of::<OnPostgres>() {
        let other = OnSqlite::new().await;
        let mut tx = other.begin().await;
        other.pay(&mut tx).await.unwrap();
        let recorded = attempt.record_in(&mut tx, answer).await;
        tx.commit().await.unwrap_err();
        assert_eq!(other.payments().await, 0);
        recorded
    } else {
        let Some(other) = OnPostgres::new().await else { return PAID.into_response() };
        let mut tx = other.begin().await;
        other.pay(&mut tx).await.unwrap();
        let recorded = attempt.record_in(&mut tx, answer).await;
        let _ = tx.commit().await;
        assert_eq!(other.payments().await, 0);
        recorded
    };
    let mut tx = ledger.begin().await;
    ledger.pay(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    refused.unwrap_err().into_response()
}

impl<L: Ledger> App<L> {
    pub(crate) async fn new(ledger: L, script: Script) -> Self {
        let idempotency = Idempotency::new(ledger.store().await);
        Self { ledger, script, runs: Arc::default(), idempotency }
    }

    /// Another process that serves the same.
    pub(crate) async fn beside(&self) -> Self {
        Self { idempotency: Idempotency::new(self.ledger.store().await), ..self.clone() }
    }

    pub(crate) async fn send(&self) -> Answer {
        self.send_key("k").await
    }

    pub(crate) async fn send_key(&self, key: &str) -> Answer {
        let router = Router::new()
            .route("/payments", post(pay::<L>))
            .layer(axum::Extension(self.idempotency.clone()))
            .with_state(self.clone());
        let request = Request::post("/payments").header("Idempotency-Key", key);
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let replayed = response.headers().contains_key("idempotent-replayed");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, replayed, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) replayed: bool,
    pub(crate) body: String,
}
