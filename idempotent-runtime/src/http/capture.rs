//! Reads a body up to a bound: a request's for its fingerprint, an answer's for its record.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How many frames are read at once before others get their turn: a body that always has one more may
/// have nothing in it.
const FRAMES_AT_ONCE: usize = 128;

/// What reading a body came to, whose errors are `E`.
pub(crate) enum Captured<E> {
    /// All of it.
    Whole { bytes: Bytes, trailers: Option<Box<HeaderMap>> },
    /// More than the bound: what was read. The body has the rest.
    TooLarge { read: Bytes },
    /// It did not end in time: what was read. The body has the rest.
    TooSlow { read: Bytes },
    /// It failed half-way.
    Failed { read: Bytes, error: E },
}

/// What a body gives when it is asked.
type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// Reads a body to its end, or past `max` bytes. The body stays where it is.
pub(crate) struct Capture {
    max: usize,
    /// Most bodies come in one piece: what has to be waited for is kept on the heap, so that futures
    /// in which nothing waits stay small.
    begun: Option<Box<Begun>>,
}

/// What was read so far.
struct Begun {
    read: Buffer,
    trailers: Option<Box<HeaderMap>>,
    /// When it has been waited for long enough.
    enough: Option<Pin<Box<Sleep>>>,
}

impl Capture {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, begun: None }
    }

    /// Asked with the same body each time, until it is ready: after `patience` at the latest, where
    /// there is one, counted from when the body first had to be waited for.
    pub(crate) fn poll<B>(
        &mut self,
        body: &mut B,
        patience: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Captured<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        match self.begun.take() {
            None => self.begin(body, patience, cx),
            Some(begun) => {
                let next = Pin::new(&mut *body).poll_frame(cx);
                self.go_on(*begun, next, body, patience, cx)
            }
        }
    }

    /// Most bodies are one frame and their end, for which nothing has to be kept.
    fn begin<B>(
        &mut self,
        body: &mut B,
        patience: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Captured<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let first = match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(read) if read.len() > self.max => {
                    return Poll::Ready(Captured::TooLarge { read });
                }
                Ok(first) => first,
                Err(frame) => {
                    let next = Poll::Ready(Some(Ok(frame)));
                    return self.go_on(Begun::with(Bytes::new()), next, body, patience, cx);
                }
            },
            Poll::Ready(None) => return whole(Bytes::new(), None),
            next => return self.go_on(Begun::with(Bytes::new()), next, body, patience, cx),
        };
        // To `None`, whatever the body says of its end: one that checks itself fails there.
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(None) => whole(first, None),
            next => self.go_on(Begun::with(first), next, body, patience, cx),
        }
    }

    /// Takes what the body gave, and reads on until it has to wait.
    #[cold]
    fn go_on<B>(
        &mut self,
        mut begun: Begun,
        mut next: Polled<B::Error>,
        body: &mut B,
        patience: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Captured<B::Error>>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut frames = 0;
        loop {
            let Poll::Ready(frame) = next else {
                return self.wait(begun, patience, cx);
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return whole(begun.read.into_bytes(), begun.trailers),
                Some(Ok(Ok(data))) => {
                    begun.read.push(data);
                    if begun.read.len() > self.max {
                        return Poll::Ready(Captured::TooLarge { read: begun.read.into_bytes() });
                    }
                }
                Some(Ok(Err(frame))) => begun.trailers = frame.into_trailers().ok().map(Box::new),
                Some(Err(error)) => {
                    let read = begun.read.into_bytes();
                    return Poll::Ready(Captured::Failed { read, error });
                }
            }
            frames += 1;
            if frames == FRAMES_AT_ONCE {
                cx.waker().wake_by_ref();
                return self.wait(begun, patience, cx);
            }
            next = Pin::new(&mut *body).poll_frame(cx);
        }
    }

    /// Waits for the body to go on.
    fn wait<E>(
        &mut self,
        mut begun: Begun,
        patience: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Captured<E>> {
        if let Some(patience) = patience {
            let enough = begun.enough.get_or_insert_with(|| Box::pin(sleep(patience)));
            if enough.as_mut().poll(cx).is_ready() {
                let read = begun.read.into_bytes();
                return match begun.trailers {
                    None => Poll::Ready(Captured::TooSlow { read }),
                    // Nothing comes after trailers.
                    trailers => whole(read, trailers),
                };
            }
        }
        self.begun = Some(Box::new(begun));
        Poll::Pending
    }
}

fn whole<E>(bytes: Bytes, trailers: Option<Box<HeaderMap>>) -> Poll<Captured<E>> {
    Poll::Ready(Captured::Whole { bytes, trailers })
}

impl Begun {
    fn with(first: Bytes) -> Self {
        Self { read: Buffer { first, all: None }, trailers: None, enough: None }
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
    /// One more frame, or what it failed with.
    Last(Option<Result<Frame<Bytes>, B::Error>>),
}

impl<B: Body> Resumed<B> {
    pub(crate) fn new(read: Bytes, rest: B) -> Self {
        Self::with(read, Rest::Body(rest))
    }

    pub(crate) fn failed(read: Bytes, error: B::Error) -> Self {
        Self::with(read, Rest::Last(Some(Err(error))))
    }

    /// Says nothing of its length: one that is known leaves no room for trailers in HTTP/1.1.
    pub(crate) fn with_trailers(read: Bytes, trailers: HeaderMap) -> Self {
        Self::with(read, Rest::Last(Some(Ok(Frame::trailers(trailers)))))
    }

    fn with(read: Bytes, rest: Rest<B>) -> Self {
        Self { read: Some(read).filter(|read| !read.is_empty()), rest }
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
            Rest::Last(last) => Poll::Ready(last.take()),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.rest {
            Rest::Body(body) => self.read.is_none() && body.is_end_stream(),
            Rest::Last(last) => self.read.is_none() && last.is_none(),
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
