//! What comes back of what was kept: the same, or what a flaw leaves of it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use idempotent_runtime::{Headers, Metadata, OperationName, Record, Steps};

use crate::flaw::Flaw;

pub(crate) fn kept_record(flaw: Flaw, record: &Record) -> Option<Record> {
    let (fingerprint, body) = (*record.fingerprint(), record.body().clone());
    let body = match flaw {
        Flaw::DropsEmptyRecords if body.is_empty() => return None,
        Flaw::DropsFalsyRecords if [&b"0"[..], b"false", b"null", b"[]"].contains(&&body[..]) => {
            return None;
        }
        Flaw::BodiesAreText => String::from_utf8_lossy(&body).into_owned().into(),
        Flaw::CutsBodies => body.slice(..body.len().min(65_535)),
        _ => body,
    };
    let metadata = match (record.metadata().clone(), flaw) {
        (Metadata::Response { status, headers, trailers }, flaw) => {
            let (status, headers, trailers) = response(flaw, status, headers, trailers);
            Metadata::Response { status, headers, trailers }
        }
        (Metadata::Tombstone { .. }, Flaw::LosesTheStatusOfTombstones) => {
            Metadata::Tombstone { status: None }
        }
        (metadata, _) => metadata,
    };
    Some(Record::new(fingerprint, metadata, body))
}

fn response(
    flaw: Flaw,
    status: StatusCode,
    mut headers: Headers,
    mut trailers: Headers,
) -> (StatusCode, Headers, Headers) {
    match flaw {
        Flaw::SortsHeaders => headers.sort_by(|one, two| one.0.as_str().cmp(two.0.as_str())),
        Flaw::HeadersAreText => {
            for (_, value) in &mut headers {
                let text: Vec<u8> = value
                    .as_bytes()
                    .iter()
                    .map(|byte| if byte.is_ascii() { *byte } else { b'?' })
                    .collect();
                *value = HeaderValue::from_bytes(&text).unwrap();
            }
        }
        Flaw::CutsHeaders => headers.truncate(64),
        Flaw::MergesTrailers => headers.append(&mut trailers),
        Flaw::StatusesAreOk if !(200..600).contains(&status.as_u16()) => {
            return (StatusCode::OK, headers, trailers);
        }
        _ => {}
    }
    (status, headers, trailers)
}

pub(crate) fn kept_steps(flaw: Flaw, steps: Steps) -> Steps {
    let kept = |(name, value): (String, Bytes)| match flaw {
        Flaw::DropsEmptySteps if value.is_empty() => None,
        Flaw::StepsAreText => Some((name, String::from_utf8_lossy(&value).into_owned().into())),
        _ => Some((name, value)),
    };
    let limit = if flaw == Flaw::KeepsSixtyFourSteps { 64 } else { usize::MAX };
    steps.into_iter().filter_map(kept).take(limit).collect()
}

pub(crate) fn kept_operation(flaw: Flaw, name: &OperationName) -> OperationName {
    match flaw {
        Flaw::CutsOperations => name.chars().take(255).collect::<String>().into(),
        Flaw::OperationsAreAscii => name.replace(|c: char| !c.is_ascii(), "?").into(),
        Flaw::OperationsAreTrimmed => name.trim().into(),
        _ => name.clone(),
    }
}

pub(crate) fn kept_ttl(flaw: Flaw, ttl: Duration) -> Duration {
    match flaw {
        Flaw::TtlsAreADayAtMost => ttl.min(Duration::from_hours(24)),
        Flaw::TtlsAreSeconds => Duration::from_secs(ttl.as_secs()),
        Flaw::TtlsCountIn32Bits => Duration::from_millis(u64::from(ttl.as_millis() as u32)),
        _ => ttl,
    }
}
