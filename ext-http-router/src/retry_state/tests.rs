use underpass_core::{
    runtime::Runtime,
    stats::{Counter, Store},
};
use underpass_http::{route::ResetHeader, testing};

use super::*;

fn policy(words: &str) -> RetryPolicy {
    RetryPolicy {
        retry_on: RetryOn::parse(words),
        num_retries: 2,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        avoids_previous_hosts: false,
        host_selection_max_attempts: 1,
        retriable_status_codes: vec![418],
        retriable_headers: Vec::new(),
        retriable_request_headers: Vec::new(),
        back_off: None,
        reset_headers: Vec::new(),
        reset_max_interval: Duration::from_secs(300),
    }
}

fn state(policy: Option<RetryPolicy>, headers: &[(&str, &str)]) -> Option<RetryState> {
    let mut head = testing::request("GET", "/", headers);
    let runtime = || Runtime::default().snapshot();
    let state = RetryState::new(policy.map(Arc::new).as_ref(), None, &mut head, true, false, &runtime);
    assert!(head.headers.keys().all(|name| !name.as_str().starts_with("x-envoy-")));
    state
}

fn cluster() -> ClusterInfo {
    ClusterInfo::new("up", &Store::new(1).scope(""))
}

fn after(state: &mut RetryState, cluster: &ClusterInfo, status: u16) -> Decision {
    state.after_answer(cluster, StatusCode::from_u16(status).unwrap(), &HeaderMap::new())
}

fn waits_at_most(decision: Decision, milliseconds: u64) -> bool {
    matches!(decision, Decision::Retry(wait) if wait <= Duration::from_millis(milliseconds))
}

#[test]
fn a_request_is_tried_again_until_it_succeeds_or_no_attempt_is_left() {
    let cluster = cluster();
    let mut state = state(Some(policy("5xx")), &[]).unwrap();
    assert!(waits_at_most(after(&mut state, &cluster, 503), 25));
    assert_eq!(cluster.circuit_breakers.default.retries.in_use(), 1);
    assert!(waits_at_most(after(&mut state, &cluster, 503), 50));
    assert_eq!(after(&mut state, &cluster, 503), Decision::LimitExceeded);
    assert_eq!(cluster.circuit_breakers.default.retries.in_use(), 0);
    let stats = &cluster.stats;
    let counted = [
        &stats.upstream_rq_retry,
        &stats.upstream_rq_retry_limit_exceeded,
        &stats.upstream_rq_retry_success,
        &stats.upstream_rq_retry_backoff_exponential,
    ];
    assert_eq!(counted.map(Counter::value), [2, 1, 0, 2]);
}

#[test]
fn a_retry_that_succeeds_is_counted() {
    let cluster = cluster();
    let mut state = state(Some(policy("5xx")), &[]).unwrap();
    let _ = after(&mut state, &cluster, 500);
    assert_eq!(after(&mut state, &cluster, 200), Decision::No);
    assert_eq!(cluster.stats.upstream_rq_retry_success.value(), 1);
}

#[test]
fn a_request_may_ask_for_retries_itself() {
    assert!(state(None, &[]).is_none() && state(Some(policy("")), &[]).is_none());
    let cluster = cluster();
    let headers = [
        ("x-envoy-retry-on", "retriable-status-codes"),
        ("x-envoy-max-retries", "7"),
        ("x-envoy-retriable-status-codes", "402, 403"),
    ];
    let mut state = state(None, &headers).unwrap();
    assert_eq!(state.remaining, 7);
    assert!(matches!(after(&mut state, &cluster, 403), Decision::Retry(_)));
    assert_eq!(after(&mut state, &cluster, 500), Decision::No);
}

#[test]
fn too_many_retries_at_once_are_refused() {
    let cluster = cluster();
    let mut states: Vec<_> = (0..4).map(|_| state(Some(policy("5xx")), &[]).unwrap()).collect();
    let decisions: Vec<_> = states.iter_mut().map(|state| after(state, &cluster, 500)).collect();
    assert_eq!(decisions.last(), Some(&Decision::Overflow));
    assert_eq!(decisions.iter().filter(|decision| matches!(decision, Decision::Retry(_))).count(), 3);
}

#[test]
fn an_upstream_may_say_how_long_to_wait() {
    let header = ResetHeader { name: "retry-after".parse().unwrap(), since_epoch: false };
    let policy = RetryPolicy { reset_headers: vec![header], ..policy("5xx") };
    let cluster = cluster();
    let mut state = state(Some(policy), &[]).unwrap();
    let mut wait = |seconds: &str| {
        let headers = HeaderMap::from_iter([(http::header::RETRY_AFTER, seconds.parse().unwrap())]);
        match state.after_answer(&cluster, StatusCode::SERVICE_UNAVAILABLE, &headers) {
            Decision::Retry(wait) => wait,
            other => panic!("{other:?}"),
        }
    };
    assert!((Duration::from_secs(2)..=Duration::from_secs(3)).contains(&wait("2")));
    assert!(wait("301") < Duration::from_secs(1), "too long to wait for");
}
