//! The clock. Time is paused and jumps, so that every moment is exact.

use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn idle_after(timeout: Duration) -> RelayOptions {
    RelayOptions { idle_timeout: Some(timeout), ..RelayOptions::default() }
}

/// Runs a relay over user-space sockets and says how it ended and when.
async fn timed(
    options: RelayOptions,
    heard: &Rc<Heard>,
    play: impl AsyncFnOnce(&mut BoxIo, &mut BoxIo),
) -> (Ending, Duration) {
    let start = Instant::now();
    let (mut client, mut server) = (user_space(1000), user_space(1000));
    let play = async {
        play(&mut client.far, &mut server.far).await;
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        end = relay(&mut client.near, &mut server.near, options, Rc::clone(heard) as _) => end,
        () = play => unreachable!(),
    };
    (end.into(), start.elapsed())
}

fn about(expected: Duration) -> impl Fn(&Duration) -> bool {
    // Timers count in milliseconds.
    move |measured| *measured >= expected && *measured < expected + Duration::from_millis(5)
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_relay_after_the_idle_timeout() {
    let (end, after) = timed(idle_after(SECOND), &Rc::<Heard>::default(), async |_, _| {}).await;
    assert_eq!(end, Ending::IdleTimeout);
    assert!(about(SECOND)(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_of_either_side_put_the_idle_timeout_off() {
    let (end, after) = timed(idle_after(SECOND), &Rc::<Heard>::default(), async |client, server| {
        sleep(SECOND * 7 / 10).await;
        client.write_all(b"x").await.unwrap();
        sleep(SECOND * 7 / 10).await;
        server.write_all(b"y").await.unwrap();
    })
    .await;
    assert_eq!(end, Ending::IdleTimeout);
    assert!(about(SECOND * 24 / 10)(&after), "{after:?}");
}

/// Envoy: the same after the client's FIN and after the upstream's FIN, and it counts from that.
#[tokio::test(start_paused = true)]
async fn the_idle_timeout_stays_in_force_after_a_half_close() {
    for client_first in [true, false] {
        let (end, after) = timed(idle_after(SECOND), &Rc::<Heard>::default(), async |client, server| {
            sleep(SECOND / 2).await;
            let first = if client_first { client } else { server };
            first.shutdown().await.unwrap();
        })
        .await;
        assert_eq!(end, Ending::IdleTimeout);
        assert!(about(SECOND * 3 / 2)(&after), "{after:?}");
    }
}

/// "works with outstanding data": bytes that wait for a stalled side are not activity, but their going is.
#[tokio::test(start_paused = true)]
async fn only_bytes_that_move_put_the_idle_timeout_off() {
    let heard = Rc::<Heard>::default();
    // Where nothing waits inside the relay, there is nothing to go.
    let options = RelayOptions { fuse_hops: false, ..idle_after(SECOND) };
    let (end, after) = timed(options, &heard, async |client, server| {
        push_until_blocked(client).await;
        sleep(SECOND / 2).await;
        server.read_exact(&mut [0; 600]).await.unwrap();
    })
    .await;
    assert_eq!(end, Ending::IdleTimeout);
    assert!(about(SECOND * 3 / 2)(&after), "{after:?}");
    let [read, written, ..] = heard.bytes();
    assert!(read > written, "{read} read, {written} written");
}

#[tokio::test(start_paused = true)]
async fn a_busy_relay_ends_at_its_deadline() {
    let start = Instant::now();
    let options = RelayOptions { deadline: Some(start + SECOND), ..idle_after(SECOND / 2) };
    let (mut client, mut server) = (user_space(1000), user_space(1000));
    let heard = Rc::<Heard>::default();
    let busy = async {
        loop {
            client.far.write_all(b"tick").await.unwrap();
            server.far.read_exact(&mut [0; 4]).await.unwrap();
            sleep(SECOND / 10).await;
        }
    };
    let end = tokio::select! {
        end = relay(&mut client.near, &mut server.near, options, Rc::clone(&heard) as _) => end,
        () = busy => unreachable!(),
    };
    assert_eq!(Ending::from(end), Ending::DurationTimeout);
    assert!(about(SECOND)(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_limits_a_relay_waits_for_ever() {
    let (mut client, mut server) = (user_space(1000), user_space(1000));
    let heard = Rc::<Heard>::default();
    let options = RelayOptions::default();
    let relay = relay(&mut client.near, &mut server.near, options, Rc::clone(&heard) as _);
    assert!(tokio::time::timeout(SECOND * 86_400 * 365, relay).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_ends_in_order_does_not_wait_for_its_timer() {
    let (end, after) = timed(idle_after(SECOND), &Rc::<Heard>::default(), async |client, server| {
        client.shutdown().await.unwrap();
        server.shutdown().await.unwrap();
    })
    .await;
    assert_eq!((end, after), (Ending::Finished(Side::Downstream), Duration::ZERO));
}

/// Envoy: where two hops have the same idle timeout, both count it, and neither takes the other's end for a failure.
#[tokio::test(start_paused = true)]
async fn a_limit_that_is_reached_when_a_side_fails_counts() {
    for (fails_after, expected) in [
        (SECOND, Ending::IdleTimeout),
        (SECOND / 2, Ending::Failed(Side::Upstream, Operation::Read, io::ErrorKind::ConnectionReset)),
    ] {
        let (end, after) = timed(idle_after(SECOND), &Rc::<Heard>::default(), async |_, server| {
            sleep(fails_after).await;
            server.reset();
        })
        .await;
        assert_eq!(end, expected);
        assert!(about(fails_after)(&after), "{after:?}");
    }
}
