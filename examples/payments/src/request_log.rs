//! One line for every request: what it was answered, and whether that came from a record.

use axum::{
    extract::Request,
    http::{Method, Uri},
    middleware::Next,
    response::Response,
};

pub(crate) async fn request_log(request: Request, next: Next) -> Response {
    let line = Line { method: request.method().clone(), uri: request.uri().clone(), open: true };
    let answer = next.run(request).await;
    line.answered(&answer);
    answer
}

struct Line {
    method: Method,
    uri: Uri,
    open: bool,
}

impl Line {
    fn answered(mut self, answer: &Response) {
        self.open = false;
        tracing::info!(
            method = %self.method,
            path = self.uri.path(),
            status = answer.status().as_u16(),
            replayed = answer.headers().contains_key("idempotent-replayed"),
            "answered"
        );
    }
}

impl Drop for Line {
    /// A client that hangs up drops its request, and so do a panic and the end of the service. The
    /// first two end no guarded handler in the middle: it runs in a task of its own.
    fn drop(&mut self) {
        if self.open {
            tracing::warn!(method = %self.method, path = self.uri.path(), "not answered");
        }
    }
}
