//! Reads a body up to a bound: a request's for its fingerprint, an answer's for its record.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body, as far as it was read.
pub(crate) enum Captured<B: Body> {
    /// All of it.
    Whole { bytes: Bytes, trailers: Option<HeaderMap> },
    /// More than the bound: what was read, and the rest.
    TooLarge { read: Bytes, rest: B },
    /// It failed half-way.
    Failed { read: Bytes, error: B::Error },
}

/// Reads `body` to its end, or past `max` bytes.
pub(crate) fn capture<B: Body>(body: B, max: usize) -> Capture<B> {
    Capture(State::New(body, max))
}

/// A body that is being read. Most come in one piece: what has to be waited for is kept on the heap,
/// so that futures in which nothing waits stay small.
pub(crate) struct Capture<B>(State<B>);

enum State<B> {
    New(B, usize),
    Waiting(Box<Reading<B>>),
    Done,
}

impl<B> Future for Capture<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Output = Captured<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Captured<B>> {
        let captured = match mem::replace(&mut self.0, State::Done) {
            State::New(body, max) if body.size_hint().lower() > max as u64 => {
                return Poll::Ready(Captured::TooLarge { read: Bytes::new(), rest: body });
            }
            State::New(body, max) => begin(body, max, cx),
            State::Waiting(mut reading) => {
                let frame = reading.poll(cx);
                reading.go_on(frame, cx)
            }
            State::Done => panic!("a body that was read to its end is polled again"),
        };
        match captured {
            Ok(captured) => Poll::Ready(captured),
            Err(reading) => {
                self.0 = State::Waiting(reading);
                Poll::Pending
            }
        }
    }
}

/// What a body gives when it is asked.
type Polled<B> = Poll<Option<Result<Frame<Bytes>, <B as Body>::Error>>>;

/// Most bodies are one frame and their end, for which nothing has to be kept.
fn begin<B>(mut body: B, max: usize, cx: &mut Context<'_>) -> Result<Captured<B>, Box<Reading<B>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let (first, next) = match Pin::new(&mut body).poll_frame(cx) {
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(read) if read.len() > max => return Ok(Captured::TooLarge { read, rest: body }),
            // To `None`, whatever the body says of its end: one that checks itself fails there.
            Ok(first) => (first, Pin::new(&mut body).poll_frame(cx)),
            Err(frame) => (Bytes::new(), Poll::Ready(Some(Ok(frame)))),
        },
        polled => (Bytes::new(), polled),
    };
    if matches!(next, Poll::Ready(None)) {
        return Ok(Captured::Whole { bytes: first, trailers: None });
    }
    let read = Buffer { first, all: None };
    Box::new(Reading { body, max, read, trailers: None }).go_on(next, cx)
}

struct Reading<B> {
    body: B,
    max: usize,
    read: Buffer,
    trailers: Option<HeaderMap>,
}

impl<B> Reading<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled<B> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    /// Takes what the body gave, and reads on until it has to wait.
    fn go_on(
        mut self: Box<Self>,
        mut polled: Polled<B>,
        cx: &mut Context<'_>,
    ) -> Result<Captured<B>, Box<Self>> {
        loop {
            let Poll::Ready(frame) = polled else { return Err(self) };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => {
                    let bytes = self.read.into_bytes();
                    return Ok(Captured::Whole { bytes, trailers: self.trailers });
                }
                Some(Ok(Ok(data))) => {
                    self.read.push(data);
                    if self.read.len() > self.max {
                        let read = self.read.into_bytes();
                        return Ok(Captured::TooLarge { read, rest: self.body });
                    }
                }
                Some(Ok(Err(frame))) => self.trailers = frame.into_trailers().ok(),
                Some(Err(error)) => {
                    return Ok(Captured::Failed { read: self.read.into_bytes(), error });
                }
            }
            polled = self.poll(cx);
        }
    }
}

/// One frame is kept as it is; only a second one is copied together with it.
struct Buffer {
    first: Bytes,
    all: Option<BytesMut>,
}

impl Buffer {
    fn push(&mut self, data: Bytes) {
        match &mut self.all {
            Some(all) => all.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let mut all = BytesMut::with_capacity(2 * (self.first.len() + data.len()));
                all.extend_from_slice(&self.first);
                all.extend_from_slice(&data);
                self.all = Some(all);
            }
        }
    }

    fn len(&self) -> usize {
        self.all.as_ref().map_or(self.first.len(), BytesMut::len)
    }

    fn into_bytes(self) -> Bytes {
        self.all.map_or(self.first, BytesMut::freeze)
    }
}

/// A body of which the beginning was read already: gives that, then goes on as if nothing happened.
pub(crate) struct Resumed<B: Body> {
    read: Option<Bytes>,
    rest: Rest<B>,
}

enum Rest<B: Body> {
    Body(B),
    Error(Option<B::Error>),
}

impl<B: Body> Resumed<B> {
    pub(crate) fn new(read: Bytes, rest: B) -> Self {
        Self { read: Some(read).filter(|read| !read.is_empty()), rest: Rest::Body(rest) }
    }

    pub(crate) fn failed(read: Bytes, error: B::Error) -> Self {
        Self { read: Some(read).filter(|read| !read.is_empty()), rest: Rest::Error(Some(error)) }
    }
}

impl<B> Body for Resumed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let Some(read) = this.read.take() {
            return Poll::Ready(Some(Ok(Frame::data(read))));
        }
        match &mut this.rest {
            Rest::Body(body) => Pin::new(body).poll_frame(cx),
            Rest::Error(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Rest::Body(body) => self.read.is_none() && body.is_end_stream(),
            Rest::Error(error) => self.read.is_none() && error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Rest::Body(body) = &self.rest else { return SizeHint::default() };
        let (read, rest) = (self.read.as_ref().map_or(0, Bytes::len) as u64, body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}
