//! Bodies of answers to requests with faults: slow, perhaps, and active until they are through.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use underpass_core::stats::GaugeHold;
use underpass_http::{Body, BodyError};

/// How many pieces a second a limited body comes in, as in Envoy's `StreamRateLimiter`.
const PIECES: u64 = 16;

/// The body of an answer. As long as it lives, its fault is active.
pub(crate) struct FaultyBody {
    body: Body,
    limit: Option<Limit>,
    _active: Option<GaugeHold>,
}

/// A bucket that gets a token for one piece sixteen times a second.
struct Limit {
    piece: usize,
    /// When the bucket was, or will be, empty.
    empty_at: Instant,
    /// What was read from the body and has to wait.
    waiting: Bytes,
    timer: Pin<Box<Sleep>>,
}

impl FaultyBody {
    /// The same body, but at most so many KiB a second of it.
    pub(crate) fn wrap(body: Body, kbps: Option<u64>, active: Option<GaugeHold>) -> Body {
        if body.is_tunnel() || http_body::Body::is_end_stream(&body) {
            return body;
        }
        Body::boxed(Self { body, limit: kbps.map(Limit::new), _active: active })
    }
}

impl Limit {
    fn new(kbps: u64) -> Self {
        let piece = usize::try_from(kbps.saturating_mul(1024) / PIECES).unwrap_or(usize::MAX);
        let now = Instant::now();
        Self {
            piece,
            empty_at: now - Self::interval(),
            waiting: Bytes::new(),
            timer: Box::pin(sleep_until(now)),
        }
    }

    fn interval() -> Duration {
        Duration::from_secs(1) / u32::try_from(PIECES).unwrap_or(1)
    }

    /// Takes a token, or waits for one. A bucket holds those of one second.
    fn poll_token(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        self.empty_at = self.empty_at.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
        let ready_at = self.empty_at + Self::interval();
        if ready_at > now {
            self.timer.as_mut().reset(ready_at);
            ready!(Future::poll(self.timer.as_mut(), cx));
        }
        self.empty_at = ready_at;
        Poll::Ready(())
    }
}

impl http_body::Body for FaultyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { body, limit, .. } = &mut *self;
        let Some(limit) = limit else { return Pin::new(body).poll_frame(cx) };
        if limit.waiting.is_empty() {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_data() => limit.waiting = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        ready!(limit.poll_token(cx));
        let piece = limit.piece.min(limit.waiting.len());
        Poll::Ready(Some(Ok(Frame::data(limit.waiting.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.limit.as_ref().is_none_or(|limit| limit.waiting.is_empty()) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.limit {
            Some(limit) if !limit.waiting.is_empty() => SizeHint::default(),
            _ => self.body.size_hint(),
        }
    }
}
