//! What the scripts answer.

use std::{fmt::Display, str::FromStr, time::Duration};

use bytes::Bytes;
use idempotent_runtime::{
    AcquireRequest, Acquired, FencingToken, Fingerprint, KeyState, Lease, Metadata, OperationName,
    Record, Steps, StoreError,
};
use redis::Value;

/// The connection has lost count: what came is the answer to another call. Taken for its own, it would
/// show a caller somebody else's record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Astray {
    /// It is the answer to another script call.
    #[error("the answer is that of another call")]
    OtherCall,
    /// It is no script's answer.
    #[error("the answer is not that of a script")]
    NoCall,
}

/// The words of one answer, taken from first to last.
pub(crate) struct Reply {
    /// What the script did or found.
    pub(crate) word: String,
    rest: std::vec::IntoIter<Value>,
}

impl Reply {
    /// Reads the answer that belongs to `call`.
    pub(crate) fn new(value: Value, call: u64) -> Result<Self, StoreError> {
        let Value::Array(values) = value else {
            return Err(StoreError::unavailable(Astray::NoCall));
        };
        let mut reply = Self { word: String::new(), rest: values.into_iter() };
        match reply.number::<u64>() {
            Ok(number) if number == call => {}
            Ok(_) => return Err(StoreError::unavailable(Astray::OtherCall)),
            Err(_) => return Err(StoreError::unavailable(Astray::NoCall)),
        }
        reply.word = reply.text()?;
        match reply.word.as_str() {
            "corrupt" => Err(StoreError::corrupt(format!("the key has {}", reply.text()?))),
            "lost" => Err(StoreError::LeaseLost),
            _ => Ok(reply),
        }
    }

    /// The answer of a step that either did what it was asked or says why not.
    pub(crate) fn done(&self) -> Result<(), StoreError> {
        match self.word.as_str() {
            "ok" => Ok(()),
            other => Err(unreadable(other)),
        }
    }

    pub(crate) fn acquired(mut self, request: &AcquireRequest<'_>) -> Result<Acquired, StoreError> {
        Ok(match self.word.as_str() {
            "granted" => {
                let (token, attempt, first) = (self.token()?, self.number()?, self.token()?);
                let lease = Lease::new(*request.key, request.lease_id, token, attempt)
                    .with_first_token(first);
                Acquired::Granted(lease.with_steps(self.steps()?))
            }
            "in_flight" => Acquired::InFlight { lease_expires_in: self.duration()? },
            "completed" => {
                let (record, expires_in) = self.record()?;
                Acquired::Completed { record, expires_in }
            }
            "mismatch" => Acquired::FingerprintMismatch,
            "abandoned" => Acquired::Abandoned { attempt: self.number()? },
            other => return Err(unreadable(other)),
        })
    }

    pub(crate) fn state(mut self) -> Result<KeyState, StoreError> {
        let word = std::mem::take(&mut self.word);
        match word.as_str() {
            "absent" => return Ok(KeyState::Absent),
            "completed" => {
                let (record, expires_in) = self.record()?;
                return Ok(KeyState::Completed { record, expires_in });
            }
            _ => {}
        }
        let (fingerprint, attempt, token) = (self.fingerprint()?, self.number()?, self.token()?);
        let (operation, ttl) = (OperationName::from(self.text()?), self.duration()?);
        Ok(match word.as_str() {
            "leased" => {
                let expires_in = self.duration()?;
                KeyState::Leased { fingerprint, attempt, token, operation, ttl, expires_in }
            }
            "released" => KeyState::Released { fingerprint, attempt, token, operation, ttl },
            "abandoned" => KeyState::Abandoned { fingerprint, attempt, token, operation, ttl },
            other => return Err(unreadable(other)),
        })
    }

    /// The answer of `forget`: whether anything was known.
    pub(crate) fn forgotten(mut self) -> Result<bool, StoreError> {
        match self.word.as_str() {
            "ok" => Ok(self.text()? == "1"),
            "still_leased" => Err(StoreError::StillLeased),
            other => Err(unreadable(other)),
        }
    }

    fn record(&mut self) -> Result<(Record, Duration), StoreError> {
        let (fingerprint, expires_in) = (self.fingerprint()?, self.duration()?);
        let metadata = Metadata::from_json(&self.text()?).map_err(StoreError::corrupt)?;
        Ok((Record::new(fingerprint, metadata, self.bytes()?), expires_in))
    }

    fn steps(&mut self) -> Result<Steps, StoreError> {
        let mut steps = Steps::new();
        while self.rest.len() > 0 {
            steps.insert(self.text()?, self.bytes()?);
        }
        Ok(steps)
    }

    fn bytes(&mut self) -> Result<Bytes, StoreError> {
        match self.rest.next() {
            Some(Value::BulkString(bytes)) => Ok(Bytes::from(bytes)),
            _ => Err(unreadable("no bytes where some are due")),
        }
    }

    fn text(&mut self) -> Result<String, StoreError> {
        String::from_utf8(self.bytes()?.into()).map_err(unreadable)
    }

    fn number<T: FromStr<Err: Display>>(&mut self) -> Result<T, StoreError> {
        self.text()?.parse().map_err(unreadable)
    }

    fn token(&mut self) -> Result<FencingToken, StoreError> {
        self.number().map(FencingToken::from_u64)
    }

    fn duration(&mut self) -> Result<Duration, StoreError> {
        self.number().map(Duration::from_micros)
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, StoreError> {
        let text = self.text()?;
        let mut bytes = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if pairs.len() != bytes.len() || text.len() != 64 {
            return Err(unreadable("a fingerprint of another length"));
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let pair = std::str::from_utf8(pair).map_err(unreadable)?;
            *byte = u8::from_str_radix(pair, 16).map_err(unreadable)?;
        }
        Ok(Fingerprint::from_bytes(bytes))
    }
}

#[allow(clippy::needless_pass_by_value)] // the shape `map_err` wants
fn unreadable(what: impl Display) -> StoreError {
    StoreError::corrupt(format!("the answer is not readable: {what}"))
}

#[cfg(test)]
mod tests {
    use idempotent_runtime::{LeaseId, StorageKey};

    use super::*;

    fn reply(words: &str) -> Result<Reply, StoreError> {
        // Latin-1, so that a word may be any bytes.
        let bytes = |word: &str| word.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let words = words.split_terminator(' ').map(|word| Value::BulkString(bytes(word)));
        let words = [Value::BulkString(b"7".to_vec())].into_iter().chain(words);
        Reply::new(Value::Array(words.collect()), 7)
    }

    /// CASES 40: whatever a script of another version answers is an error and never a lease.
    #[test]
    fn an_answer_that_is_not_understood_is_corrupt() {
        for words in [
            "",
            "granted",
            "granted 1",
            "granted 1 1",
            "granted -1 1 1",
            "granted 1 4294967296 1",
            "granted 1 1 1 step",
            "granted 1 1 1 \u{ff} value",
            "completed 00 1 {} body",
            "in_flight 1.5",
            "OK",
        ] {
            let (key, fingerprint) =
                (StorageKey::from_bytes([0; 32]), Fingerprint::from_bytes([0; 32]));
            let ask =
                AcquireRequest::new(&key, &fingerprint, LeaseId::random(), Duration::from_secs(1));
            let answer = reply(words).and_then(|reply| reply.acquired(&ask));
            assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{words}: {answer:?}");
        }
    }

    #[test]
    fn an_answer_to_another_call_is_unavailable() {
        let answer = |call: &[u8]| {
            let words = [call, b"absent"].map(|word| Value::BulkString(word.to_vec()));
            Reply::new(Value::Array(words.to_vec()), 7)
        };
        assert!(answer(b"7").is_ok());
        assert!(matches!(answer(b"8"), Err(StoreError::Unavailable(_))));
        assert!(matches!(answer(b"granted"), Err(StoreError::Unavailable(_))));
        assert!(matches!(Reply::new(Value::Okay, 7), Err(StoreError::Unavailable(_))));
    }
}
