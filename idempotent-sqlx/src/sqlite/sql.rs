//! The statements.

/// What is known of a key, in one look.
pub(super) const LOOK: &str = "\
    select l.lease_id, l.released_id, l.token, l.attempt, l.state, l.fingerprint, l.leased_until, \
        l.leased_until + l.retention, r.fingerprint, r.metadata, r.body, r.expires_at, \
        l.first_token, l.operation, l.ttl \
    from idempotent_leases l left join idempotent_records r on r.key = l.key \
    where l.key = ?1";

pub(super) const INSERT_LEASE: &str = "\
    insert into idempotent_leases \
        (key, lease_id, token, attempt, state, fingerprint, leased_until, retention, purge_at, \
            operation, ttl, first_token) \
    values (?1, ?2, ?3, 1, 'leased', ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

pub(super) const UPDATE_LEASE: &str = "\
    update idempotent_leases set lease_id = ?2, released_id = null, token = ?3, attempt = ?11, \
        state = 'leased', fingerprint = ?4, leased_until = ?5, retention = ?6, purge_at = ?7, \
        operation = ?8, ttl = ?9, first_token = ?10 \
    where key = ?1";

pub(super) const STEPS: &str = "select name, value from idempotent_steps where key = ?1";

pub(super) const FORGET_RECORD: &str = "delete from idempotent_records where key = ?1";
pub(super) const FORGET_STEPS: &str = "delete from idempotent_steps where key = ?1";

pub(super) const FORGET_STEP: &str = "delete from idempotent_steps where key = ?1 and name = ?2";

/// ?1 key, ?2 lease id, ?3 token, ?4 now: what each step of a lease compares.
macro_rules! owned {
    () => {
        "key = ?1 and lease_id = ?2 and token = ?3 \
        and coalesce(leased_until + retention > ?4, true)"
    };
}

macro_rules! not_completed {
    () => {
        " and not exists (select 1 from idempotent_records r where r.key = ?1)"
    };
}

macro_rules! insert_record {
    ($also:literal) => {
        concat!(
            "insert into idempotent_records \
                (key, lease_id, fingerprint, status, metadata, body, completed_at, expires_at) \
            select key, lease_id, ?5, ?6, ?7, ?8, ?4, ?9 from idempotent_leases where ",
            owned!(),
            $also,
            " on conflict do nothing"
        )
    };
}

/// `complete`.
pub(super) const COMPLETE: &str = insert_record!("");

/// In a handler's own transaction. A refused record takes the transaction with it by a foreign key, so
/// there is none where foreign keys are not enforced.
pub(super) const RECORD: &str =
    insert_record!(" and (select foreign_keys from pragma_foreign_keys) = 1");

pub(super) const RENEW: &str = concat!(
    "update idempotent_leases set leased_until = ?5 where state = 'leased' and ",
    owned!(),
    not_completed!()
);

/// ?7 is `released` or `freed`.
pub(super) const GIVE_BACK: &str = concat!(
    "update idempotent_leases set lease_id = null, released_id = ?2, state = ?7, \
        leased_until = ?4, retention = ?5, purge_at = ?6 where ",
    owned!(),
    not_completed!()
);

pub(super) const ABANDON: &str = concat!(
    "update idempotent_leases set state = 'abandoned', leased_until = ?4 where ",
    owned!(),
    not_completed!()
);

pub(super) const INSERT_STEP: &str = concat!(
    "insert into idempotent_steps (key, name, value, saved_at) \
    select key, ?5, ?6, ?4 from idempotent_leases where ",
    owned!(),
    not_completed!(),
    " on conflict do nothing"
);

/// Whether the saved value is equal; no row when the lease is lost.
pub(super) const SAVED_STEP: &str = concat!(
    "select s.value = ?6 from idempotent_leases l join idempotent_steps s on s.key = l.key \
    where s.name = ?5 and l.key = ?1 and l.lease_id = ?2 and l.token = ?3 \
        and coalesce(l.leased_until + l.retention > ?4, true)",
    not_completed!()
);

pub(super) const DELETE_LEASE: &str = "delete from idempotent_leases where key = ?1";

pub(super) const DUE_RECORDS: &str =
    "select key from idempotent_records where expires_at <= ?1 order by expires_at limit ?2";

pub(super) const DUE_LEASES: &str =
    "select key from idempotent_leases where purge_at <= ?1 order by purge_at limit ?2";

/// Of a key that is due: goes unless it was renewed or completed since.
pub(super) const PURGE: &str = "\
    delete from idempotent_leases where key = ?1 and case \
        when exists (select 1 from idempotent_records r where r.key = ?1) \
            then exists (select 1 from idempotent_records r where r.key = ?1 and r.expires_at <= ?2) \
        else leased_until + retention <= ?2 \
    end";

pub(super) const PURGE_LATER: &str = "\
    update idempotent_leases set purge_at = coalesce( \
        (select expires_at from idempotent_records r where r.key = ?1), \
        leased_until + retention, 9223372036854775807) \
    where key = ?1";

/// A row that refers to what is not there, and is looked at when the transaction is committed. In
/// temporary tables, so that it needs nothing of the database; they go with the transaction.
pub(super) const POISON: &str = "\
    create temp table if not exists idempotent_nothing (id integer primary key); \
    create temp table if not exists idempotent_refused ( \
        refused integer references idempotent_nothing (id) deferrable initially deferred); \
    insert into temp.idempotent_refused (refused) values (1)";

pub(super) const FOREIGN_KEYS: &str = "select foreign_keys from pragma_foreign_keys";

/// As the driver names the first of them.
pub(super) const BACK_TO_SAVEPOINT: &str = "rollback to savepoint _sqlx_savepoint_1";

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection};

    use super::*;

    /// Their cost does not grow with the number of keys.
    #[tokio::test]
    async fn every_statement_finds_its_rows_by_an_index() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(include_str!("schema.sql")).execute(&mut connection).await.unwrap();
        let by_key = [
            LOOK,
            UPDATE_LEASE,
            STEPS,
            FORGET_RECORD,
            FORGET_STEPS,
            FORGET_STEP,
            COMPLETE,
            RECORD,
            RENEW,
            GIVE_BACK,
            ABANDON,
            INSERT_STEP,
            SAVED_STEP,
            DELETE_LEASE,
            PURGE,
            PURGE_LATER,
        ];
        let by_time = [
            (DUE_RECORDS, "idempotent_records_expires_at"),
            (DUE_LEASES, "idempotent_leases_purge_at"),
        ];
        let all = by_key.map(|sql| (sql, "(key=?")).into_iter().chain(by_time);
        for (sql, index) in all {
            let explain = AssertSqlSafe(format!("explain query plan {sql}"));
            let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get(3)).collect();
            let plan = plan.join("; ").replace("SCAN pragma_foreign_keys", "");
            assert!(plan.contains(index), "{sql}: {plan}");
            assert!(!plan.contains("SCAN") && !plan.contains("B-TREE"), "{sql}: {plan}");
        }
    }
}
