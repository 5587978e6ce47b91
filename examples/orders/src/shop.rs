//! Orders and shipments, whichever database they are in.

use idempotent_runtime::Idempotency;
use idempotent_sqlx::{
    outbox::Outbox,
    sqlx::{self, Pool, Transaction},
};

use crate::{
    database::{Database, Opened, Value},
    fault::Fault,
    order::{Change, NewOrder, Order},
    startup::StartError,
};

const PLACE: &str = "insert into orders (item, quantity, address, message_id) \
     values ($1, $2, $3, $4) returning id, item, quantity, address, status, version";

const ORDER: &str = "select id, item, quantity, address, status, version from orders where id = $1";

/// The comparison and the change are one statement: of two at once, the second one finds another
/// version.
const CHANGE: &str = "update orders set quantity = $3, address = $4, version = version + 1 \
     where id = $1 and version = $2 and status = 'placed' \
     returning id, item, quantity, address, status, version";

/// Nothing is asked about the status: that it is done once is the guard's work.
const SHIPPED: &str = "update orders set status = 'shipped', version = version + 1 \
     where id = $1 returning id, item, quantity, address, status, version";

const SHIP: &str = "insert into shipments (order_id, quantity, address, attempt) \
     values ($1, $2, $3, $4) returning id";

/// What the handler and the consumer share.
pub(crate) struct Shop<DB: Database> {
    pool: Pool<DB>,
    pub(crate) outbox: Outbox<DB>,
    pub(crate) idempotency: Idempotency,
    /// Where a test kills this process.
    pub(crate) fault: Option<Fault>,
}

impl<DB: Database> Shop<DB> {
    pub(crate) async fn open(url: &str, fault: Option<Fault>) -> Result<Self, StartError> {
        let Opened { pool, records, outbox } = DB::open(url).await?;
        Ok(Self { pool, outbox, idempotency: Idempotency::new(records), fault })
    }

    pub(crate) async fn begin(&self) -> sqlx::Result<Transaction<'static, DB>> {
        DB::begin(&self.pool).await
    }

    /// A transaction that sees one moment.
    pub(crate) async fn snapshot(&self) -> sqlx::Result<Transaction<'static, DB>> {
        self.pool.begin_with(DB::DIALECT.snapshot).await
    }

    pub(crate) async fn order(&self, id: i64) -> sqlx::Result<Option<Order>> {
        let mut connection = self.pool.acquire().await?;
        one(&DB::query(&mut connection, ORDER.to_owned(), &[Value::Int(id)]).await?, order::<DB>)
    }

    /// Changes an order that still has this version and is not shipped; `None` where it is not so.
    pub(crate) async fn change(
        &self,
        id: i64,
        version: i64,
        change: &Change,
    ) -> sqlx::Result<Option<Order>> {
        let values = [
            Value::Int(id),
            Value::Int(version),
            Value::Int(change.quantity.number()),
            Value::Text(change.address.as_str()),
        ];
        let mut connection = self.pool.acquire().await?;
        one(&DB::query(&mut connection, CHANGE.to_owned(), &values).await?, order::<DB>)
    }
}

/// Writes an order.
pub(crate) async fn place<DB: Database>(
    transaction: &mut Transaction<'_, DB>,
    new: &NewOrder,
    message_id: &str,
) -> sqlx::Result<Order> {
    let values = [
        Value::Text(new.item.as_str()),
        Value::Int(new.quantity.number()),
        Value::Text(new.address.as_str()),
        Value::Text(message_id),
    ];
    let placed = DB::query(transaction, PLACE.to_owned(), &values).await?;
    one(&placed, order::<DB>)?.ok_or(sqlx::Error::RowNotFound)
}

/// Ships an order as it is now, and answers the shipment's id; `None` where there is no such order.
///
/// The effect that must not happen twice. Its first statement waits for a change that is under way,
/// and keeps others waiting.
pub(crate) async fn ship<DB: Database>(
    transaction: &mut Transaction<'_, DB>,
    id: i64,
    attempt: u32,
) -> sqlx::Result<Option<i64>> {
    let shipped = DB::query(transaction, SHIPPED.to_owned(), &[Value::Int(id)]).await?;
    let Some(order) = one(&shipped, order::<DB>)? else { return Ok(None) };
    let values = [
        Value::Int(id),
        Value::Int(order.quantity),
        Value::Text(&order.address),
        Value::Int(attempt.into()),
    ];
    let shipment = DB::query(transaction, SHIP.to_owned(), &values).await?;
    one(&shipment, |row| DB::read_int(row, 0))
}

fn order<DB: Database>(row: &DB::Row) -> sqlx::Result<Order> {
    Ok(Order {
        id: DB::read_int(row, 0)?,
        item: DB::read_text(row, 1)?,
        quantity: DB::read_int(row, 2)?,
        address: DB::read_text(row, 3)?,
        status: DB::read_text(row, 4)?,
        version: DB::read_int(row, 5)?,
    })
}

fn one<R, T>(rows: &[R], read: impl Fn(&R) -> sqlx::Result<T>) -> sqlx::Result<Option<T>> {
    rows.first().map(read).transpose()
}
