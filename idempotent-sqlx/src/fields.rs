//! What columns mean. Nothing is guessed: what does not fit is [`StoreError::Corrupt`].

use bytes::Bytes;
use idempotent_runtime::{
    FencingToken, Fingerprint, Lease, LeaseId, Metadata, Record, StorageKey, StoreError,
};

/// Why a stored value was refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("a fingerprint has {0} bytes instead of 32")]
    Fingerprint(usize),
    #[error("an attempt is {0}")]
    Attempt(i64),
    #[error("a fencing token is {0}")]
    Token(i64),
    #[cfg(feature = "postgres")]
    #[error("the row of the key holds what no store wrote")]
    Row,
    #[error("the store answered with the unknown word `{0}`")]
    Word(String),
}

impl From<Unreadable> for StoreError {
    fn from(unreadable: Unreadable) -> Self {
        Self::corrupt(unreadable)
    }
}

pub(crate) fn fingerprint(bytes: &[u8]) -> Result<Fingerprint, Unreadable> {
    let exact = bytes.try_into().map_err(|_| Unreadable::Fingerprint(bytes.len()))?;
    Ok(Fingerprint::from_bytes(exact))
}

pub(crate) fn attempt(attempt: i64) -> Result<u32, Unreadable> {
    u32::try_from(attempt).ok().filter(|&n| n > 0).ok_or(Unreadable::Attempt(attempt))
}

pub(crate) fn token(token: i64) -> Result<FencingToken, Unreadable> {
    let number = u64::try_from(token).map_err(|_| Unreadable::Token(token))?;
    Ok(FencingToken::from_u64(number))
}

/// The token of a lease as a column holds it. One that no store granted is nobody's.
pub(crate) fn token_column(lease: &Lease) -> i64 {
    i64::try_from(lease.token.as_u64()).unwrap_or(-1)
}

pub(crate) fn record(
    fingerprint_column: &[u8],
    metadata: &str,
    body: Vec<u8>,
) -> Result<Record, StoreError> {
    let metadata = Metadata::from_json(metadata).map_err(StoreError::corrupt)?;
    Ok(Record::new(fingerprint(fingerprint_column)?, metadata, Bytes::from(body)))
}

pub(crate) fn lease(
    key: &StorageKey,
    id: LeaseId,
    [token_column, first_token_column]: [i64; 2],
    attempt_column: i64,
    steps: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<Lease, StoreError> {
    let lease = Lease::new(*key, id, token(token_column)?, attempt(attempt_column)?)
        .with_first_token(token(first_token_column)?);
    let steps = steps.into_iter().map(|(name, value)| (name, Bytes::from(value)));
    Ok(lease.with_steps(steps.collect()))
}

/// The status of an answer, in a column of its own for people.
pub(crate) fn status(metadata: &Metadata) -> Option<i16> {
    let status = match metadata {
        Metadata::Response { status, .. } => Some(*status),
        Metadata::Tombstone { status } => *status,
        _ => None,
    };
    status.and_then(|status| i16::try_from(status.as_u16()).ok())
}
