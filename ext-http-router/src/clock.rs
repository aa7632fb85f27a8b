//! The times that a request may take, all kept with one timer.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{request_body::RequestBody, timeouts::Timeouts, upstream_log::AttemptLog};

/// Which time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeUp {
    /// That of the whole request.
    Global,
    /// That of one attempt.
    PerTry,
    /// An attempt was silent for too long.
    PerTryIdle,
    /// The upstream stream lasted too long.
    MaxStreamDuration,
}

/// When which time is up. As in Envoy, the times of the request and of an attempt begin when the request is complete.
#[derive(Debug)]
pub(crate) struct Clock {
    timeouts: Timeouts,
    max_stream_duration: Option<Duration>,
    is_complete: bool,
    global: Option<Instant>,
    per_try: Option<Instant>,
    idle: Option<Instant>,
    duration: Option<Instant>,
    /// Whether there is an upstream stream, so that an attempt's times count.
    has_stream: bool,
}

impl Clock {
    pub(crate) fn new(timeouts: Timeouts, max_stream_duration: Option<Duration>) -> Self {
        Self {
            timeouts,
            max_stream_duration: max_stream_duration.filter(|duration| !duration.is_zero()),
            is_complete: false,
            global: None,
            per_try: None,
            idle: None,
            duration: None,
            has_stream: false,
        }
    }

    /// The request is a WebSocket's: its times do not wait for its end.
    pub(crate) fn begin_at_once(&mut self) {
        self.complete(Instant::now());
    }

    fn complete(&mut self, at: Instant) {
        self.is_complete = true;
        self.global = self.timeouts.global.map(|timeout| at + timeout);
        if self.has_stream {
            self.try_begins(Instant::now());
        }
    }

    /// An attempt has its upstream stream.
    pub(crate) fn stream_begins(&mut self) {
        self.has_stream = true;
        let times = &self.timeouts;
        if self.max_stream_duration.is_none() && times.per_try.is_none() && times.per_try_idle.is_none() {
            return;
        }
        let now = Instant::now();
        self.duration = self.max_stream_duration.map(|duration| now + duration);
        if self.is_complete {
            self.try_begins(now);
        }
    }

    /// The attempt is over, and its times with it.
    pub(crate) fn stream_ends(&mut self) {
        self.has_stream = false;
        (self.per_try, self.idle, self.duration) = (None, None, None);
    }

    /// The answer has begun: it may take as long as the request and the stream may.
    pub(crate) fn answer_begins(&mut self) {
        self.per_try = None;
        self.active();
    }

    /// Something came from the upstream.
    pub(crate) fn active(&mut self) {
        if let (Some(_), Some(timeout)) = (self.idle, self.timeouts.per_try_idle) {
            self.idle = Some(Instant::now() + timeout);
        }
    }

    fn try_begins(&mut self, now: Instant) {
        self.per_try = self.timeouts.per_try.map(|timeout| now + timeout);
        self.idle = self.timeouts.per_try_idle.map(|timeout| now + timeout);
    }

    /// Notices that the request is complete.
    fn look_at(&mut self, body: &RequestBody, cx: &mut Context<'_>) {
        if self.is_complete {
            return;
        }
        if let Poll::Ready(at) = body.poll_completed(cx) {
            self.complete(at);
        }
    }

    /// The time that is up next.
    pub(crate) fn next(&self) -> Option<(Instant, TimeUp)> {
        let times = [
            (self.global, TimeUp::Global),
            (self.per_try, TimeUp::PerTry),
            (self.idle, TimeUp::PerTryIdle),
            (self.duration, TimeUp::MaxStreamDuration),
        ];
        times.into_iter().filter_map(|(at, which)| Some((at?, which))).min_by_key(|(at, _)| *at)
    }

    /// Waits for `work`, unless a time is up first. It is pinned by the caller, since a future that it were moved into would
    /// hold it twice. Meanwhile the log of the attempt may write.
    pub(crate) async fn limit<F: Future>(
        &mut self,
        body: &RequestBody,
        log: Option<&AttemptLog>,
        mut work: Pin<&mut F>,
    ) -> Result<F::Output, TimeUp> {
        let mut timer = pin!(None);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if let Some(log) = log {
                log.poll_periodic(cx);
            }
            self.look_at(body, cx);
            let Some((at, which)) = self.next() else { return Poll::Pending };
            match timer.as_mut().as_pin_mut() {
                None => timer.set(Some(sleep_until(at))),
                Some(timer) if timer.deadline() != at => timer.reset(at),
                Some(_) => {}
            }
            // proven: it was set above.
            let Some(timer) = timer.as_mut().as_pin_mut() else { return Poll::Pending };
            timer.poll(cx).map(|()| Err(which))
        })
        .await
    }

    /// The same for the body of an answer, whose caller keeps the timer.
    pub(crate) fn check(&mut self, body: &RequestBody, cx: &mut Context<'_>) -> Option<(Instant, TimeUp)> {
        self.look_at(body, cx);
        self.next()
    }
}
