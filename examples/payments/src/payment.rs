//! Payments, as they stand in requests and answers.
//!
//! What a client sends is parsed, not validated later: there is no [`Amount`] below 1 and no
//! [`Currency`] that isn't three capital letters.

use serde::{Deserialize, Serialize};

/// The body of `POST /payments`.
#[derive(Debug, Deserialize)]
pub(crate) struct NewPayment {
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
}

/// The body of `POST /payments/{id}/refund`.
#[derive(Debug, Deserialize)]
pub(crate) struct NewRefund {
    pub(crate) amount: Amount,
}

/// A payment, as it is answered.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Payment {
    pub(crate) id: u64,
    pub(crate) amount: Amount,
    pub(crate) currency: Currency,
    /// How much of `amount` was paid back, in minor units.
    pub(crate) refunded: i64,
    /// Which attempt brought the payment into this state: more than 1 after a retry that ran.
    pub(crate) attempt: u32,
}

/// A positive number of minor units, such as cents.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "i64")]
pub(crate) struct Amount(i64);

impl Amount {
    pub(crate) fn minor_units(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = &'static str;

    fn try_from(minor_units: i64) -> Result<Self, Self::Error> {
        match minor_units {
            1.. => Ok(Self(minor_units)),
            _ => Err("expected a positive number of minor units"),
        }
    }
}

/// A currency code of ISO 4217, as far as its form goes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub(crate) struct Currency(String);

impl Currency {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        match code.as_bytes() {
            [b'A'..=b'Z', b'A'..=b'Z', b'A'..=b'Z'] => Ok(Self(code)),
            _ => Err("expected three capital letters"),
        }
    }
}
