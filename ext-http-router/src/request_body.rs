//! The body of a request on its way to one host after another.
//!
//! An attempt reads the body as it arrives. If there may be another attempt, what was read is kept, up to a limit, so that
//! the next one begins at the beginning. Once more has come than may be kept, there is no other attempt.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use underpass_core::stats::Counter;
use underpass_http::{Body, BodyError, reset::ResetReason};

/// The body of one request.
pub(crate) enum RequestBody {
    /// None; the request was complete then.
    Empty(Instant),
    /// The bytes of a tunnel, which are not sent as a body.
    Endless,
    /// One.
    Some(Rc<Shared>),
}

pub(crate) struct Shared {
    source: RefCell<Body>,
    kept: RefCell<Kept>,
    /// Whether what is read is kept.
    keeps: Cell<bool>,
    /// How much may be kept.
    limit: usize,
    /// Counts a body that could not be kept.
    abandoned: Counter,
    /// Which attempt reads it.
    reader: Cell<u32>,
    /// How many bytes the present attempt has read.
    read: Cell<u64>,
    complete: Cell<Option<Instant>>,
    /// Who waits for its end.
    waits: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct Kept {
    data: Vec<Bytes>,
    length: usize,
    trailers: Option<HeaderMap>,
}

impl RequestBody {
    /// A body of which nothing was read. With `keep`, up to so many bytes of it are kept for another attempt.
    pub(crate) fn new(source: Body, keep: Option<usize>, abandoned: &Counter) -> Self {
        if source.is_end_stream() {
            return Self::Empty(Instant::now());
        }
        Self::Some(Rc::new(Shared {
            source: RefCell::new(source),
            kept: RefCell::default(),
            keeps: Cell::new(keep.is_some()),
            limit: keep.unwrap_or_default(),
            abandoned: abandoned.clone(),
            reader: Cell::new(0),
            read: Cell::new(0),
            complete: Cell::new(None),
            waits: RefCell::default(),
        }))
    }

    /// When its end was read, if it was.
    pub(crate) fn completed_at(&self) -> Option<Instant> {
        match self {
            Self::Empty(at) => Some(*at),
            Self::Endless => None,
            Self::Some(shared) => shared.complete.get(),
        }
    }

    /// The same, and wakes whoever asked last once it is.
    pub(crate) fn poll_completed(&self, cx: &mut Context<'_>) -> Poll<Instant> {
        match self {
            Self::Empty(at) => Poll::Ready(*at),
            Self::Endless => Poll::Pending,
            Self::Some(shared) => {
                if let Some(at) = shared.complete.get() {
                    return Poll::Ready(at);
                }
                *shared.waits.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether another attempt can begin at the beginning.
    pub(crate) fn can_be_replayed(&self) -> bool {
        match self {
            Self::Empty(_) | Self::Endless => true,
            Self::Some(shared) => shared.keeps.get(),
        }
    }

    /// There will be no other attempt.
    pub(crate) fn forget(&self) {
        if let Self::Some(shared) = self {
            shared.keeps.set(false);
        }
    }

    /// Tells how many bytes the attempt that begins has sent.
    pub(crate) fn sent_counter(&self) -> SentCounter {
        SentCounter(match self {
            Self::Empty(_) | Self::Endless => None,
            Self::Some(shared) => {
                shared.read.set(0);
                Some(Rc::clone(shared))
            }
        })
    }

    /// The whole body for the next attempt; the attempt before gets no more of it.
    pub(crate) fn for_attempt(&self) -> Body {
        let Self::Some(shared) = self else { return Body::empty() };
        let number = shared.next_reader();
        Body::boxed(Attempt { shared: Rc::clone(shared), number, next: 0, trailers_sent: false })
    }

    /// Whoever reads it is told that it broke off, unless it was read to its end.
    pub(crate) fn stop(&self) {
        if let Self::Some(shared) = self
            && shared.complete.get().is_none()
        {
            shared.next_reader();
        }
    }
}

/// Tells how much of a body was sent.
pub(crate) struct SentCounter(Option<Rc<Shared>>);

impl SentCounter {
    /// `None` if there is no body.
    pub(crate) fn get(&self) -> Option<u64> {
        self.0.as_ref().map(|shared| shared.read.get())
    }
}

/// What one attempt reads.
struct Attempt {
    shared: Rc<Shared>,
    number: u32,
    /// Which kept piece comes next.
    next: usize,
    trailers_sent: bool,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let shared = Rc::clone(&this.shared);
        if shared.reader.get() != this.number {
            return Poll::Ready(Some(Err(BodyError::Reset(ResetReason::LocalReset.into()))));
        }
        let frame = match this.kept_frame() {
            Some(frame) => Some(Ok(frame)),
            None => ready!(this.poll_source(cx)),
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            shared.read.set(shared.read.get() + data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.shared.kept.borrow();
        self.next >= kept.data.len()
            && (self.trailers_sent || kept.trailers.is_none())
            && self.shared.source.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.shared.source.borrow().size_hint();
        let kept = self.shared.kept.borrow();
        let kept: u64 = kept.data.iter().skip(self.next).map(|data| data.len() as u64).sum();
        if let Some(exact) = hint.exact() {
            return SizeHint::with_exact(exact + kept);
        }
        hint.set_lower(hint.lower() + kept);
        hint
    }
}

impl Attempt {
    /// The next frame that an attempt before has read.
    fn kept_frame(&mut self) -> Option<Frame<Bytes>> {
        let kept = self.shared.kept.borrow();
        if let Some(data) = kept.data.get(self.next) {
            self.next += 1;
            return Some(Frame::data(data.clone()));
        }
        let trailers = kept.trailers.as_ref().filter(|_| !self.trailers_sent)?;
        self.trailers_sent = true;
        Some(Frame::trailers(trailers.clone()))
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let shared = Rc::clone(&self.shared);
        let mut source = shared.source.borrow_mut();
        let frame = ready!(Pin::new(&mut *source).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.keep(frame);
                if source.is_end_stream() || frame.is_trailers() {
                    shared.complete();
                }
            }
            Some(Err(_)) => {}
            None => shared.complete(),
        }
        Poll::Ready(frame)
    }

    /// Keeps a frame for other attempts, if there may be some.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let shared = &*self.shared;
        if !shared.keeps.get() {
            return;
        }
        let mut kept = shared.kept.borrow_mut();
        if let Some(data) = frame.data_ref() {
            if kept.length + data.len() > shared.limit {
                shared.abandoned.inc();
                shared.keeps.set(false);
                *kept = Kept::default();
                self.next = 0;
                return;
            }
            kept.length += data.len();
            kept.data.push(data.clone());
            self.next = kept.data.len();
        } else if let Some(trailers) = frame.trailers_ref() {
            kept.trailers = Some(trailers.clone());
            self.trailers_sent = true;
        }
    }
}

impl Shared {
    fn next_reader(&self) -> u32 {
        let number = self.reader.get().wrapping_add(1);
        self.reader.set(number);
        number
    }

    fn complete(&self) {
        if self.complete.get().is_none() {
            self.complete.set(Some(Instant::now()));
            if let Some(waker) = self.waits.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A body of these pieces, with a trailer at its end.
    fn body_of(pieces: &'static [&'static str]) -> Body {
        let mut trailers = HeaderMap::new();
        trailers.insert("t", "v".parse().unwrap());
        let data = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))));
        let frames = data.chain([Ok(Frame::trailers(trailers))]);
        Body::boxed(StreamBody::new(futures_util::stream::iter(frames.collect::<Vec<_>>())))
    }

    async fn read(body: Body) -> (String, bool) {
        let collected = body.collect().await.unwrap();
        let has_trailers = collected.trailers().is_some();
        (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), has_trailers)
    }

    #[tokio::test]
    async fn each_attempt_reads_the_whole_body() {
        let body = RequestBody::new(body_of(&["ab", "cd"]), Some(100), &Counter::default());
        let mut first = body.for_attempt();
        let frame = first.frame().await.unwrap().unwrap();
        assert_eq!(frame.data_ref().unwrap(), "ab");
        assert!(body.completed_at().is_none() && body.can_be_replayed());
        let second = body.for_attempt();
        assert_eq!(read(second).await, ("abcd".to_owned(), true));
        assert!(first.frame().await.unwrap().is_err());
        let sent = body.sent_counter();
        assert_eq!(read(body.for_attempt()).await, ("abcd".to_owned(), true));
        assert_eq!(sent.get(), Some(4));
        assert!(body.completed_at().is_some());
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_sent_once() {
        let store = underpass_core::stats::Store::new(1);
        let abandoned = store.scope("").counter("retry_or_shadow_abandoned");
        let body = RequestBody::new(body_of(&["ab", "cd", "ef"]), Some(5), &abandoned);
        assert_eq!(read(body.for_attempt()).await, ("abcdef".to_owned(), true));
        assert!(!body.can_be_replayed());
        assert_eq!(abandoned.value(), 1);
    }

    #[tokio::test]
    async fn a_request_without_body_is_complete_at_once() {
        let body = RequestBody::new(Body::empty(), Some(5), &Counter::default());
        assert!(body.completed_at().is_some());
        assert!(body.for_attempt().is_end_stream());
    }
}
