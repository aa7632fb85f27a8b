use std::time::Duration;

use http::Method;
use tokio::io::AsyncReadExt;
use underpass_core::cluster::{CircuitBreakers, Limits, PoolFailureReason};

use super::toys::{Toys, answer, head, on_a_worker, text};
use crate::{Body, protocol_options::ClusterProtocolOptions};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A cluster with these limits.
async fn limited(limits: Limits) -> Toys {
    Toys::with(ClusterProtocolOptions::default(), |info| {
        info.circuit_breakers = CircuitBreakers::new(&info.scope, limits, Limits::default());
    })
    .await
}

/// Answers every request on every connection.
fn serve(toys: &Toys) {
    let listener = toys.listener.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (mut io, _) = listener.accept().await.unwrap();
            tokio::task::spawn_local(async move {
                while io.readable().await.is_ok() {
                    answer(&mut io, OK).await;
                }
            });
        }
    });
}

async fn get(toys: &Toys) -> Result<String, PoolFailureReason> {
    let place = toys.acquire().await.map_err(|failure| failure.reason)?;
    Ok(text(place.send(&head(Method::GET, "a", "/"), Body::empty()).await.unwrap().into_body()).await)
}

#[test]
fn requests_beyond_the_limit_are_refused() {
    on_a_worker(async {
        let toys = limited(Limits { requests: 1, ..Limits::default() }).await;
        serve(&toys);
        let first = toys.acquire().await.unwrap();
        assert_eq!(get(&toys).await, Err(PoolFailureReason::PendingOverflow));
        assert_eq!(toys.stat("upstream_rq_active_overflow"), 1);
        drop(first);
        assert_eq!(get(&toys).await.as_deref(), Ok("ok"));
    });
}

#[test]
fn those_who_wait_beyond_the_limit_are_refused() {
    on_a_worker(async {
        let toys = limited(Limits { pending_requests: 1, ..Limits::default() }).await;
        serve(&toys);
        let outcomes = tokio::join!(get(&toys), get(&toys));
        assert_eq!(outcomes, (Ok("ok".to_owned()), Err(PoolFailureReason::PendingOverflow)));
        assert_eq!(toys.stat("upstream_rq_pending_overflow"), 1);
        assert_eq!(toys.stat("upstream_rq_pending_active"), 0);
    });
}

#[test]
fn nobody_waits_for_a_host_that_refuses() {
    on_a_worker(async {
        let mut toys = Toys::new(ClusterProtocolOptions::default()).await;
        let another = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        toys.listener = another.into();
        let outcomes = tokio::join!(toys.acquire(), toys.acquire());
        for outcome in [outcomes.0, outcomes.1] {
            let failure = outcome.err().unwrap();
            assert_eq!(failure.reason, PoolFailureReason::RemoteConnectionFailure);
            let why = failure.transport_failure_reason.unwrap();
            assert_eq!(why, "delayed_connect_error:_Connection_refused");
        }
        assert_eq!(toys.stat("upstream_rq_pending_failure_eject"), 2);
    });
}

#[test]
fn one_that_does_not_wait_any_more_is_counted_and_its_connection_serves_the_next() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        serve(&toys);
        {
            let mut waiting = std::pin::pin!(toys.acquire());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(toys.stat("upstream_rq_cancelled"), 1);
        toys.until("upstream_cx_total", 1).await;
        assert_eq!(get(&toys).await.as_deref(), Ok("ok"));
        assert_eq!(toys.stat("upstream_cx_total"), 1);
        assert_eq!(toys.stat("upstream_rq_pending_active"), 0);
    });
}

#[test]
fn a_connection_that_the_host_closes_while_it_is_idle_is_let_go() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let listener = toys.listener.clone();
        tokio::task::spawn_local(async move {
            loop {
                answer(&mut listener.accept().await.unwrap().0, OK).await;
            }
        });
        assert_eq!(get(&toys).await.as_deref(), Ok("ok"));
        toys.until("closed_remote", 1).await;
        assert_eq!(get(&toys).await.as_deref(), Ok("ok"));
        assert_eq!(toys.stat("upstream_cx_total"), 2);
        assert_eq!(toys.stat("closed_with_request"), 0);
    });
}

#[test]
fn a_connection_is_left_when_it_was_idle_for_too_long_carried_enough_or_is_too_old() {
    on_a_worker(async {
        let short = Some(Duration::from_millis(30));
        let mut options = ClusterProtocolOptions::default();
        options.common.idle_timeout = short;
        let toys = Toys::new(options.clone()).await;
        serve(&toys);
        get(&toys).await.unwrap();
        toys.until("upstream_cx_idle_timeout", 1).await;
        toys.until("closed_local", 1).await;

        options.common.idle_timeout = None;
        options.common.max_connection_duration = short;
        let toys = Toys::new(options.clone()).await;
        serve(&toys);
        get(&toys).await.unwrap();
        toys.until("upstream_cx_max_duration_reached", 1).await;
        toys.until("closed_local", 1).await;

        options.common.max_connection_duration = None;
        options.common.max_requests_per_connection = Some(1);
        let toys = Toys::new(options).await;
        serve(&toys);
        get(&toys).await.unwrap();
        get(&toys).await.unwrap();
        toys.until("closed_local", 2).await;
        assert_eq!(toys.stat("upstream_cx_max_requests"), 2);
    });
}

#[test]
fn a_host_that_goes_takes_its_idle_connections_and_leaves_requests_alone() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        serve(&toys);
        let place = toys.acquire().await.unwrap();
        get(&toys).await.unwrap();
        toys.worker.forget_host(toys.host.id);
        toys.until("closed_local", 1).await;
        let response = place.send(&head(Method::GET, "a", "/"), Body::empty()).await.unwrap();
        assert_eq!(text(response.into_body()).await, "ok");
        toys.until("closed_local", 2).await;
    });
}

#[test]
fn a_request_that_is_given_up_closes_its_connection() {
    on_a_worker(async {
        let toys = Toys::new(ClusterProtocolOptions::default()).await;
        let place = toys.acquire().await.unwrap();
        let sent = place.send(&head(Method::GET, "a", "/"), Body::empty());
        tokio::time::timeout(Duration::from_millis(20), sent).await.unwrap_err();
        let (mut io, _) = toys.listener.accept().await.unwrap();
        let mut request = Vec::new();
        io.read_to_end(&mut request).await.unwrap();
        assert!(request.starts_with(b"GET / "));
        assert_eq!(toys.counted(), "closed_local 1, closed_with_request 1");
    });
}
