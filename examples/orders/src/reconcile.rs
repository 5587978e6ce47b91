//! Compares orders, records, messages and shipments: what disagrees, nobody was told of.
//!
//! It exits with 0 when nothing disagrees, with 1 when something does, and with 2 when it cannot tell.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use idempotent_sqlx::sqlx;

use crate::{
    database::{Database, Value},
    order::OrderPlaced,
    shop::Shop,
    startup::StartError,
};

/// One kind of disagreement.
struct Check {
    what: &'static str,
    /// Answers who or what, as text. `$1`: seconds within which things may still happen by
    /// themselves. `$2`: seconds within which records and messages are surely kept. `$3`: the topic.
    sql: &'static str,
}

/// Records are kept for 24 h from the answer on, and messages from their publication on; this is a
/// little less, so that what has just been purged is not missed.
const KEPT: Duration = Duration::from_hours(23);

/// The records of handlers have a status, those of the consumer are values.
const CHECKS: &[Check] = &[
    Check {
        what: "order without a message",
        sql: "select 'order ' || o.id from orders o
            where {order age} < $2 and not exists (
                select 1 from {messages} m where m.id = o.message_id and m.partition_key = cast(o.id as text))
            order by o.id",
    },
    Check {
        what: "message without an order",
        sql: "select 'message ' || m.id from {messages} m
            where m.topic = $3 and not exists (
                select 1 from orders o where o.message_id = m.id and cast(o.id as text) = m.partition_key)
            order by m.id",
    },
    Check {
        what: "several orders of one key",
        sql: "select 'message ' || o.message_id || ': ' || count(*) || ' orders' from orders o
            group by o.message_id having count(*) > 1 order by o.message_id",
    },
    Check {
        what: "order without a record",
        sql: "select 'order ' || o.id from orders o
            where {order age} < $2 and o.id not in (
                select cast({body} ->> 'id' as bigint) from {records} r
                where r.status = 201 and r.metadata ->> 'kind' = 'response')
            order by o.id",
    },
    Check {
        what: "record without an order",
        sql: "select 'order ' || placed.id from (
                select case when r.status = 201 and r.metadata ->> 'kind' = 'response'
                    then cast({body} ->> 'id' as bigint) end as id
                from {records} r) placed
            where placed.id is not null and placed.id not in (select o.id from orders o)
            order by placed.id",
    },
    Check {
        what: "order shipped several times",
        sql: "select 'order ' || s.order_id || ': ' || count(*) || ' shipments' from shipments s
            group by s.order_id having count(*) > 1 order by s.order_id",
    },
    Check {
        what: "shipment without an order",
        sql: "select 'shipment ' || s.id from shipments s
            where not exists (select 1 from orders o where o.id = s.order_id) order by s.id",
    },
    Check {
        what: "shipment of other content than its order",
        sql: "select 'shipment ' || s.id from shipments s join orders o on o.id = s.order_id
            where s.quantity <> o.quantity or s.address <> o.address order by s.id",
    },
    Check {
        what: "shipped order without a shipment",
        sql: "select 'order ' || o.id from orders o where o.status = 'shipped' and not exists (
                select 1 from shipments s where s.order_id = o.id) order by o.id",
    },
    Check {
        what: "shipment of an order that is not shipped",
        sql: "select 'shipment ' || s.id from shipments s join orders o on o.id = s.order_id
            where o.status <> 'shipped' order by s.id",
    },
    Check {
        what: "shipment without a record",
        sql: "select 'shipment ' || s.id from shipments s join orders o on o.id = s.order_id
            where {order age} < $2 and s.id not in (
                select cast({body} ->> 'shipment' as bigint) from {records} r
                where r.metadata ->> 'kind' = 'value')
            order by s.id",
    },
    Check {
        what: "record without a shipment",
        sql: "select 'shipment ' || shipped.id from (
                select case when r.metadata ->> 'kind' = 'value'
                    then cast({body} ->> 'shipment' as bigint) end as id
                from {records} r) shipped
            where shipped.id is not null and shipped.id not in (select s.id from shipments s)
            order by shipped.id",
    },
    Check {
        what: "dead letter",
        sql: "select 'message ' || m.id || ': ' || coalesce(m.error, 'no error') from {messages} m
            where m.state = 'dead' order by m.id",
    },
    Check {
        what: "message that was never published",
        sql: "select 'message ' || m.id from {messages} m
            where m.state = 'pending' and {message age} >= $1 order by m.id",
    },
    Check {
        what: "published and never shipped",
        sql: "select 'order ' || o.id from {messages} m join orders o on o.message_id = m.id
            where m.state = 'published' and {message age} >= $1 and not exists (
                select 1 from shipments s where s.order_id = o.id)
            order by o.id",
    },
];

const COUNTS: [(&str, &str); 4] = [
    ("orders", "select count(*) from orders"),
    ("messages", "select count(*) from {messages}"),
    ("shipments", "select count(*) from shipments"),
    ("records", "select count(*) from {records}"),
];

pub(crate) async fn run<DB: Database>(
    shop: &Shop<DB>,
    older_than: Duration,
) -> Result<ExitCode, StartError> {
    let (disagreements, counts) = compare(shop, older_than).await?;
    let mut out = io::stdout().lock();
    if disagreements.is_empty() {
        writeln!(out, "nothing disagrees: {counts}")?;
        return Ok(ExitCode::SUCCESS);
    }
    for (what, who) in &disagreements {
        writeln!(out, "{what}: {who}")?;
    }
    writeln!(out, "{} disagree: {counts}", disagreements.len())?;
    Ok(ExitCode::FAILURE)
}

/// All of one moment: what is placed or shipped meanwhile disagrees with nothing.
async fn compare<DB: Database>(
    shop: &Shop<DB>,
    older_than: Duration,
) -> sqlx::Result<(Vec<(&'static str, String)>, String)> {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let (within, kept) = (Value::Int(seconds(older_than)), Value::Int(seconds(KEPT)));
    let mut moment = shop.snapshot().await?;
    let mut disagreements = Vec::new();
    for check in CHECKS {
        // A parameter that a statement does not name has no type.
        let named = [("$1", within), ("$2", kept), ("$3", Value::Text(OrderPlaced::TOPIC))];
        let named = named.into_iter().find(|(name, _)| check.sql.contains(name));
        let sql = named.map_or(check.sql.to_owned(), |(name, _)| check.sql.replace(name, "$1"));
        let values: Vec<_> = named.into_iter().map(|(_, value)| value).collect();
        for row in DB::query(&mut moment, DB::DIALECT.fill(&sql), &values).await? {
            disagreements.push((check.what, DB::read_text(&row, 0)?));
        }
    }
    let mut counts = Vec::new();
    for (what, sql) in COUNTS {
        let rows = DB::query(&mut moment, DB::DIALECT.fill(sql), &[]).await?;
        let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        counts.push(format!("{} {what}", DB::read_int(row, 0)?));
    }
    Ok((disagreements, counts.join(", ")))
}
