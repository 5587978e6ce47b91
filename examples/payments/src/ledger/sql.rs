//! What both databases have in common: the statements, and how a row is read.

use axum::{
    body::HttpBody as _,
    http::{HeaderValue, header},
    response::Response,
};
use idempotent_runtime::defaults;
use idempotent_sqlx::sqlx::{self, ColumnIndex, Decode, FromRow, Row, Type};

use super::Page;
use crate::payment::{Amount, Currency, Payment};

pub(super) const PAY: &str = "insert into payments (amount, currency, attempt) \
     values ($1, $2, $3) returning id, amount, currency, refunded, attempt";

/// The condition and the change are one statement: of two refunds at once, the second waits for the
/// first and is compared with what is left then.
pub(super) const REFUND: &str = "update payments set refunded = refunded + $2, attempt = $3 \
     where id = $1 and amount - refunded >= $2 \
     returning id, amount, currency, refunded, attempt";

pub(super) const LEFT: &str = "select amount - refunded from payments where id = $1";

pub(super) const PAYMENT: &str =
    "select id, amount, currency, refunded, attempt from payments where id = $1";

/// One statement, so that the count is that of the same moment.
pub(super) const NEWEST: &str = "select id, amount, currency, refunded, attempt, \
     (select count(*) from payments) as count from payments order by id desc limit $1";

/// An id as the databases have it. None of them is larger.
pub(super) fn id(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(-1)
}

/// Whether a record can hold `answer`. A stream, or what is larger than the cap, is committed without
/// one: the runtime then leaves a record that says only that the operation ran, in a step of its own
/// as with other stores. Asking for a record of it would refuse the transaction.
pub(super) fn is_recordable(answer: &Response) -> bool {
    answer.body().size_hint().lower() <= defaults::MAX_RESPONSE_BYTES as u64
        && answer.headers().get(header::CONTENT_TYPE)
            != Some(&HeaderValue::from_static("text/event-stream"))
}

impl<'r, R> FromRow<'r, R> for Payment
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let amount: i64 = row.try_get("amount")?;
        let currency: String = row.try_get("currency")?;
        Ok(Self {
            id: number(row.try_get("id")?)?,
            amount: Amount::try_from(amount).map_err(unreadable)?,
            currency: Currency::try_from(currency).map_err(unreadable)?,
            refunded: row.try_get("refunded")?,
            attempt: number(row.try_get("attempt")?)?,
        })
    }
}

/// What [`NEWEST`] found.
pub(super) fn page<'r, R>(rows: &'r [R]) -> sqlx::Result<Page>
where
    R: Row,
    Payment: FromRow<'r, R>,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let Some(first) = rows.first() else { return Ok(Page::default()) };
    Ok(Page {
        count: number(first.try_get("count")?)?,
        payments: rows.iter().map(Payment::from_row).collect::<Result<_, _>>()?,
    })
}

fn number<T: TryFrom<i64, Error: std::error::Error + Send + Sync + 'static>>(
    column: i64,
) -> sqlx::Result<T> {
    column.try_into().map_err(unreadable)
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
