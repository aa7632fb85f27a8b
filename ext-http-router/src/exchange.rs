//! A request and its attempts, up to the answer.

use std::{pin::pin, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use underpass_core::response_flags::ResponseFlag;
use underpass_http::{Response, reset::ResetReason};

use crate::{
    answer::Answer,
    attempt::{self, Outcome},
    failure::{self, Failure, What},
    request::{Request, add_one},
    retry_state::Decision,
};

/// Serves a request: tries until there is an answer.
pub(crate) async fn serve(mut request: Request) -> Response {
    loop {
        let wait = match attempt::attempt(&mut request).await {
            Outcome::NoHost => return failure::no_healthy_upstream(&request),
            Outcome::Answered(answer) => match after_answer(&mut request, &answer) {
                Some(wait) => {
                    answer.discard(&request);
                    wait
                }
                None => return answer.pass_on(request),
            },
            Outcome::Failed(failure) => match after_failure(&mut request, &failure) {
                Some(wait) => wait,
                None => return failure.reply(&request),
            },
        };
        let Request { clock, body, .. } = &mut request;
        if clock.limit(body, None, pin!(tokio::time::sleep(wait))).await.is_err() {
            return failure::timed_out(&request, "response_timeout");
        }
        if !next_attempt(&mut request) {
            return failure::no_healthy_upstream(&request);
        }
    }
}

/// Begins anew; false if the cluster is gone.
fn next_attempt(request: &mut Request) -> bool {
    request.next_attempt();
    let name = Arc::clone(&request.cluster.info().name);
    let clusters = request.stream.worker().cluster_manager();
    let Some(cluster) = clusters.and_then(|clusters| clusters.cluster(&name)) else { return false };
    if !Rc::ptr_eq(&request.cluster, &cluster) {
        *request.stream.info.upstream.cluster.borrow_mut() = Some(Arc::clone(cluster.info()));
        request.cluster = cluster;
    }
    true
}

/// How long to wait for another attempt, if there is to be one.
fn after_answer(request: &mut Request, answer: &Answer) -> Option<Duration> {
    let retries = request.retries.as_mut().filter(|_| request.body.can_be_replayed())?;
    let (status, headers) = (answer.response.status(), answer.response.headers());
    // An upgrade that was accepted is no answer to try again for.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let decision = retries.after_answer(request.cluster.info(), status, headers);
    note(request, decision)
}

fn after_failure(request: &mut Request, failure: &Failure) -> Option<Duration> {
    failure.count(request);
    let (reason, request_was_sent) = match &failure.what {
        What::Reset { reset, request_was_sent } => (reset.reason, *request_was_sent),
        What::TimeUp(time) if time.ends_attempt_only() => (ResetReason::LocalReset, true),
        What::TimeUp(_) => return None,
    };
    let retries = request.retries.as_mut().filter(|_| request.body.can_be_replayed())?;
    let decision = retries.after_reset(request.cluster.info(), reason, request_was_sent);
    let wait = note(request, decision)?;
    if let Some(host) = &failure.host {
        add_one(&host.stats.rq_error);
    }
    Some(wait)
}

fn note(request: &Request, decision: Decision) -> Option<Duration> {
    let flag = match decision {
        Decision::Retry(wait) => return Some(wait),
        Decision::No => return None,
        Decision::LimitExceeded => ResponseFlag::UpstreamRetryLimitExceeded,
        Decision::Overflow => ResponseFlag::UpstreamOverflow,
    };
    request.stream.info.set_flag(flag);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl Fn(Request) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_takes_little_memory_while_it_waits() {
        let size = size_of_future(serve);
        assert!(size < 3000, "{size}");
    }
}
