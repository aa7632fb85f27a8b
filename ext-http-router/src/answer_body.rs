//! The body of an upstream's answer, watched until it ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use underpass_core::cluster::Outcome;
use underpass_http::{
    Body, BodyError,
    reset::{ResetReason, StreamReset},
};

use crate::{
    answer::{Answered, judge_grpc},
    clock::TimeUp,
    failure::{details, flag},
    request::{Request, add_one},
};

/// The body of an answer.
pub(crate) struct AnswerBody {
    inner: Body,
    request: Request,
    answered: Answered,
    timer: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl AnswerBody {
    /// Watches a body. Where there is nothing to wait for, it is over at once.
    pub(crate) fn around(inner: Body, request: Request, answered: Answered) -> Body {
        let is_over = inner.is_end_stream();
        let mut body = Self { inner, request, answered, timer: None, is_over: false };
        if is_over {
            body.finish(None);
            return std::mem::take(&mut body.inner);
        }
        Body::boxed(body)
    }

    /// The answer is complete.
    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Self { request, answered, .. } = self;
        let now = Instant::now();
        request.stream.info.upstream.details.last_byte_received.set(Some(now.into_std()));
        if let Some(complete) = request.body.completed_at() {
            let time = now.saturating_duration_since(complete);
            request.record_time(time, &answered.host, answered.is_canary);
        } else {
            request.body.stop();
        }
        if answered.awaits_grpc_status {
            // Without trailers, there is no status.
            judge_grpc(&answered.host, trailers.unwrap_or(&HeaderMap::new()));
        }
        if let Some(log) = answered.log.take() {
            log.complete(trailers);
        }
    }

    /// The answer breaks off.
    fn break_off(&mut self, reset: &StreamReset) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Self { request, answered, .. } = self;
        let info = &request.stream.info;
        info.set_flag(flag(reset.reason));
        *info.details.response_code_details.borrow_mut() =
            Some(details("upstream_reset_after_response_started", reset).into());
        answered.host.report(Outcome::RequestFailed);
        if let Some(log) = &answered.log {
            log.set_flag(flag(reset.reason));
        }
        self.abandon();
    }

    fn time_is_up(&mut self, time: TimeUp) {
        self.is_over = true;
        let Self { request, answered, .. } = self;
        time.count(request, Some(&answered.host));
        if let (Some(log), Some(flag)) = (&answered.log, time.attempt_flag()) {
            log.set_flag(flag);
        }
        let info = &request.stream.info;
        info.set_flag(time.flag());
        *info.details.response_code_details.borrow_mut() = Some(time.details().into());
        self.abandon();
    }

    fn abandon(&mut self) {
        if self.answered.awaits_grpc_status {
            add_one(&self.answered.host.stats.rq_error);
            self.request.settings.stats.rq_reset_after_downstream_response_started.inc();
        }
        self.request.body.stop();
        self.inner = Body::empty();
        self.answered.log = None;
    }

    /// Ready when one of the request's times is up.
    fn poll_time_up(&mut self, cx: &mut Context<'_>) -> Poll<TimeUp> {
        let Some((at, time)) = self.request.clock.check(&self.request.body, cx) else { return Poll::Pending };
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => none.insert(Box::pin(sleep_until(at))),
        };
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx).map(|()| time)
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(log) = &this.answered.log {
            log.poll_periodic(cx);
        }
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                if let Poll::Ready(time) = this.poll_time_up(cx) {
                    this.time_is_up(time);
                    return Poll::Ready(Some(Err(BodyError::Reset(ResetReason::LocalReset.into()))));
                }
                return Poll::Pending;
            }
        };
        match &frame {
            Some(Ok(frame)) => {
                this.request.clock.active();
                if let (Some(log), Some(data)) = (&this.answered.log, frame.data_ref()) {
                    log.received(data.len() as u64);
                }
                if let Some(trailers) = frame.trailers_ref() {
                    this.finish(Some(trailers));
                } else if this.inner.is_end_stream() {
                    this.finish(None);
                }
            }
            Some(Err(error)) => {
                let reset = match error {
                    BodyError::Reset(reset) => reset.clone(),
                    _ => ResetReason::ProtocolError.into(),
                };
                this.break_off(&reset);
            }
            None => this.finish(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    /// The client is gone, or does not want the rest.
    fn drop(&mut self) {
        if !self.is_over {
            self.request.body.stop();
        }
    }
}
