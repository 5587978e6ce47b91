//! What goes wrong, in the words of the store contract.

use idempotent_runtime::StoreError;
use redis::RedisError;

/// Why a [`RedisStore`](crate::RedisStore) was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server could not be reached, or refused the connection.
    #[error("redis could not be asked")]
    Redis(#[from] RedisError),
    /// The prefix has a brace, which would move the hash tag.
    #[error("the prefix {0:?} has a brace; the hash tag has to be that of the storage key")]
    Prefix(String),
    /// The replicas cannot be waited for longer than an answer is.
    #[error("the wait for replicas has to be shorter than the response timeout")]
    ReplicaTimeout,
    /// A timeout of zero would refuse every call.
    #[error("a timeout has to be at least a millisecond")]
    ZeroTimeout,
}

/// Fewer replicas than asked for have acknowledged a write in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{acknowledged} of {wanted} replicas have acknowledged the write in time")]
#[non_exhaustive]
pub struct ReplicasBehind {
    /// How many have.
    pub acknowledged: u32,
    /// How many were asked for.
    pub wanted: u32,
}

/// An error of the server or of the connection. What is not known to mean something else is
/// *unavailable*: it may or may not have been applied.
pub(crate) fn store_error(error: RedisError) -> StoreError {
    match error.code() {
        Some("OOM") => StoreError::Full,
        Some("WRONGTYPE") => StoreError::corrupt(error),
        _ if error.is_timeout() => StoreError::Timeout,
        _ => StoreError::unavailable(error),
    }
}
