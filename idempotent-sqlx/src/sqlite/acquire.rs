//! `acquire`: a look that locks nothing, and a write only where something is granted.

use idempotent_runtime::{AcquireRequest, Acquired, FencingToken, Lease, Retention, StoreError};
use sqlx::{Row as _, Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    Failed, SqliteStore, after,
    look::{Decision, Grant, IN_FLIGHT, Seen},
    micros, now, sql,
};
use crate::fields;

impl SqliteStore {
    pub(super) async fn acquire_once(
        &self,
        request: &AcquireRequest<'_>,
    ) -> Result<Acquired, Failed> {
        let seen = Seen::of(&mut *self.reader().await?, request.key).await?;
        let Some(seen) = seen else { return self.grant(request).await };
        match seen.decision(request, now()) {
            Decision::Answer(answer) => Ok(answer),
            Decision::Refuse => Err(StoreError::LeaseLost.into()),
            Decision::Grant(grant) => match self.grant(request).await {
                Err(Failed::Busy(_)) if grant == Grant::TakenOver => Ok(IN_FLIGHT),
                answer => answer,
            },
        }
    }

    /// Decides and writes under the lock of the database.
    async fn grant(&self, request: &AcquireRequest<'_>) -> Result<Acquired, Failed> {
        let mut transaction = self.begin().await?;
        let (seen, now) = (Seen::of(&mut transaction, request.key).await?, now());
        let Some(seen) = seen else {
            // Nobody else can write until the transaction ends, so this is the clock's latest token.
            of_request(sql::INSERT_LEASE, request, now, now, 0)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            let token = fields::token(now).map_err(StoreError::from)?;
            return Ok(Acquired::Granted(Lease::new(*request.key, request.lease_id, token, 1)));
        };
        let grant = match seen.decision(request, now) {
            Decision::Answer(answer) => return Ok(answer),
            Decision::Refuse => return Err(StoreError::LeaseLost.into()),
            Decision::Grant(grant) => grant,
        };
        let next = FencingToken::from_u64(seen.token.as_u64() + 1)
            .max(fields::token(now).map_err(StoreError::from)?);
        let (token, first_token, attempt, not_before) = match grant {
            // A repetition takes nothing away.
            Grant::Repeated => (seen.token, seen.first_token, seen.attempt, seen.leased_until),
            Grant::TakenOver | Grant::Next => {
                (next, seen.first_token, seen.attempt.saturating_add(1), 0)
            }
            Grant::Anew => {
                for sql in [sql::FORGET_RECORD, sql::FORGET_STEPS] {
                    let forget = sqlx::query(sql).bind(&request.key.as_bytes()[..]);
                    forget.execute(&mut *transaction).await?;
                }
                (next, next, 1, 0)
            }
        };
        let columns =
            [token, first_token].map(|token| i64::try_from(token.as_u64()).unwrap_or(i64::MAX));
        of_request(sql::UPDATE_LEASE, request, columns[0], now, not_before)
            .bind(columns[1])
            .bind(attempt)
            .execute(&mut *transaction)
            .await?;
        let mut steps = Vec::new();
        if grant != Grant::Anew {
            let rows = sqlx::query(sql::STEPS).bind(&request.key.as_bytes()[..]);
            for row in rows.fetch_all(&mut *transaction).await? {
                steps.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        transaction.commit().await?;
        let attempt = attempt.into();
        let lease = fields::lease(request.key, request.lease_id, columns, attempt, steps)?;
        Ok(Acquired::Granted(lease))
    }
}

/// The first nine arguments of the statements that write a lease.
fn of_request<'q>(
    sql: &'static str,
    request: &AcquireRequest<'q>,
    token: i64,
    now: i64,
    not_before: i64,
) -> Query<'q, Sqlite, SqliteArguments> {
    let until = after(now, request.lease_for).max(not_before);
    let (retention, purge_at) = match request.retention {
        Retention::For(retention) => (Some(micros(retention)), after(until, retention)),
        Retention::UntilResolved => (None, i64::MAX),
    };
    sqlx::query(sql)
        .bind(&request.key.as_bytes()[..])
        .bind(&request.lease_id.as_bytes()[..])
        .bind(token)
        .bind(&request.fingerprint.as_bytes()[..])
        .bind(until)
        .bind(retention)
        .bind(purge_at)
        .bind(request.operation.as_str())
        .bind(micros(request.ttl))
}
