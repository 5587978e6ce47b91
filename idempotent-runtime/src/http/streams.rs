//! Which answers are streams by their content type.

use http::{HeaderMap, header};

use super::headers::values;

/// Content types whose bodies come piece by piece, for as long as somebody listens. The list stands in
/// the docs of [`PassThrough`](crate::PassThrough) too.
const STREAMS: [&str; 6] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
    "multipart/x-mixed-replace",
];

/// And `application/grpc` with all that begins like it: `application/grpc+proto`,
/// `application/grpc-web`, `application/grpc-web-text+proto`.
const GRPC: &[u8] = b"application/grpc";

/// Whether the content type is that of a stream, whatever its parameters.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let Some(value) = values(headers, &header::CONTENT_TYPE).next() else { return false };
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let essence = value[..end].trim_ascii();
    STREAMS.iter().any(|stream| essence.eq_ignore_ascii_case(stream.as_bytes())) || is_grpc(essence)
}

fn is_grpc(essence: &[u8]) -> bool {
    essence.split_at_checked(GRPC.len()).is_some_and(|(begin, rest)| {
        begin.eq_ignore_ascii_case(GRPC) && matches!(rest, [] | [b'+' | b'-', ..])
    })
}
