//! One call of a function in the database: one statement, one round trip.

use std::{fmt::Write as _, sync::Arc};

use sqlx::{
    AssertSqlSafe, PgConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
};

/// An argument.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    BigInt(i64),
    Int(i32),
    SmallInt(Option<i16>),
    /// `None`: until a person decides.
    Micros(Option<i64>),
    Bool(bool),
}

/// The functions of one schema, as statements.
pub(super) struct Statements {
    schema: Box<str>,
    prepared: bool,
    calls: [Arc<str>; Function::ALL.len()],
}

macro_rules! functions {
    ($($variant:ident = $name:literal, $arguments:literal;)*) => {
        /// A function that `migrate` creates.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Function { $($variant),* }

        impl Function {
            const ALL: &'static [(&'static str, usize)] = &[$(($name, $arguments)),*];
        }
    };
}

functions! {
    Acquire = "acquire_v1", 8;
    Complete = "complete_v1", 9;
    Record = "record_v1", 8;
    Renew = "renew_v1", 4;
    Release = "release_v1", 5;
    Free = "free_v1", 5;
    Abandon = "abandon_v1", 3;
    SaveStep = "save_step_v1", 5;
    Step = "step_v1", 5;
    Inspect = "inspect_v1", 1;
    Forget = "forget_v1", 2;
    Purge = "purge_v1", 1;
}

impl Statements {
    /// `schema` is a checked identifier.
    pub(super) fn new(schema: &str, prepared: bool) -> Self {
        let calls = std::array::from_fn(|at| {
            let (name, arguments) = Function::ALL[at];
            let places: Vec<_> = (1..=arguments).map(|n| format!("${n}")).collect();
            format!("select * from \"{schema}\".{name}({})", places.join(", ")).into()
        });
        Self { schema: schema.into(), prepared, calls }
    }

    pub(super) fn schema(&self) -> &str {
        &self.schema
    }

    /// Calls a function and answers its one row.
    pub(super) async fn call(
        &self,
        connection: &mut PgConnection,
        function: Function,
        values: &[Value<'_>],
    ) -> Result<PgRow, sqlx::Error> {
        if self.prepared {
            let sql = AssertSqlSafe(Arc::clone(&self.calls[function as usize]));
            values.iter().fold(sqlx::query(sql), bind).fetch_one(connection).await
        } else {
            // A pooler may give each message to another server, which knows of no statement that was
            // prepared: everything goes in one message, with values that need no quoting.
            let (name, _) = Function::ALL[function as usize];
            let places: Vec<_> = values.iter().map(literal).collect();
            let sql = format!("select * from \"{}\".{name}({})", self.schema, places.join(", "));
            sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await
        }
    }
}

type Bound<'q> = Query<'q, sqlx::Postgres, PgArguments>;

fn bind<'q>(query: Bound<'q>, value: &Value<'q>) -> Bound<'q> {
    match *value {
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Text(text) => query.bind(text),
        Value::BigInt(number) => query.bind(number),
        Value::Int(number) => query.bind(number),
        Value::SmallInt(number) => query.bind(number),
        Value::Micros(micros) => query.bind(micros),
        Value::Bool(value) => query.bind(value),
    }
}

/// Text goes as the hex digits of its bytes too: nothing of it can be read as SQL.
fn literal(value: &Value<'_>) -> String {
    match *value {
        Value::Bytes(bytes) => format!("{}::bytea", hex(bytes)),
        Value::Text(text) => format!("convert_from({}::bytea, 'UTF8')", hex(text.as_bytes())),
        Value::BigInt(number) | Value::Micros(Some(number)) => format!("'{number}'::bigint"),
        Value::Int(number) => format!("'{number}'::integer"),
        Value::SmallInt(Some(number)) => format!("'{number}'::smallint"),
        Value::SmallInt(None) => "null::smallint".to_owned(),
        Value::Micros(None) => "null::bigint".to_owned(),
        Value::Bool(value) => format!("{value}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len() + 4);
    text.push_str("'\\x");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_hold_nothing_that_could_be_read_as_sql() {
        let hostile = "'; drop table leases; --\\";
        let literal = literal(&Value::Text(hostile));
        let digits = literal.strip_prefix("convert_from('\\x").unwrap();
        let digits = digits.strip_suffix("'::bytea, 'UTF8')").unwrap();
        assert_eq!(digits.len(), 2 * hostile.len());
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(super::literal(&Value::Micros(None)), "null::bigint");
        assert_eq!(super::literal(&Value::Bytes(&[0, 255])), "'\\x00ff'::bytea");
        assert_eq!(super::literal(&Value::BigInt(-1)), "'-1'::bigint");
    }

    #[test]
    fn a_statement_has_a_place_for_each_argument() {
        let statements = Statements::new("idempotent", true);
        assert_eq!(
            &*statements.calls[Function::Abandon as usize],
            "select * from \"idempotent\".abandon_v1($1, $2, $3)"
        );
    }
}
