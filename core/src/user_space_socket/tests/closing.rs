//! Half-closes, closes, resets and connecting. Each test names the line of Envoy's list (A3), or the row of its close
//! matrix (B6), that it stands for.

use super::*;
use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};

/// "write after own shutdown(WR) or after peer close -> EINVAL": a broken pipe, as kernel sockets have it.
#[test]
fn a_write_after_the_own_shutdown_fails_at_once() {
    let (mut client, mut server) = small_pair(1024);
    shutdown(&mut client);
    assert_eq!(write_error(&mut client), BrokenPipe);
    let mut bytes = Bytes::from_static(b"x");
    assert!(
        matches!(write_bytes(&mut client, &mut bytes), Poll::Ready(Err(error)) if error.kind() == BrokenPipe)
    );
    write(&mut server, b"the other way is open");
    assert_eq!(read(&mut client, 3), b"the");
}

/// "write after own shutdown(WR) or after peer close -> EINVAL".
#[test]
fn a_write_to_a_closed_peer_fails_at_once() {
    let (mut client, server) = small_pair(1024);
    drop(server);
    assert_eq!(write_error(&mut client), BrokenPipe);
}

/// "after own close -> EBADF": the type system sees to a dropped end; one that was reset is unusable too.
#[test]
fn an_end_that_was_reset_is_unusable() {
    let (mut client, mut server) = small_pair(1024);
    write(&mut server, b"unread");
    client.reset();
    assert_eq!(write_error(&mut client), BrokenPipe);
    assert_eq!(read_error(&mut client), NotConnected);
}

/// "zero-byte write always ok. shutdown idempotent."
#[test]
fn empty_writes_and_repeated_shutdowns_do_no_harm() {
    let (mut client, server) = small_pair(1);
    write(&mut client, b"x");
    write(&mut client, b"");
    assert!(matches!(write_bytes(&mut client, &mut Bytes::new()), Poll::Ready(Ok(0))));
    shutdown(&mut client);
    shutdown(&mut client);
    write(&mut client, b"");
    drop(server);
    shutdown(&mut client);
    write(&mut client, b"");
}

/// A shutdown after the peer's close is too late to make that a usual end: Envoy logs `UR` for a client that finishes in
/// this moment.
#[test]
fn finishing_after_the_peer_has_gone_leaves_a_reset_to_be_read() {
    let (mut client, server) = small_pair(1024);
    drop(server);
    shutdown(&mut client);
    assert_eq!(read_error(&mut client), ConnectionReset);
}

/// "peer close raises Read+Write+Closed": whoever waits for anything is told.
#[test]
fn a_close_wakes_whoever_waits() {
    let (mut client, server) = small_pair(10);
    fill(&mut client);
    let (reader, writer) = (Task::new(), Task::new());
    assert!(poll_read_as(&reader, &mut client, 8).is_pending());
    assert!(poll_write_as(&writer, &mut client, b"x").is_pending());
    drop(server);
    assert_eq!((reader.woken(), writer.woken()), (1, 1));
}

/// "no callback after close or after reset".
#[test]
fn an_end_that_has_left_wakes_nobody() {
    for reset in [false, true] {
        let (mut client, mut server) = small_pair(10);
        fill(&mut client);
        let task = Task::new();
        assert!(poll_read_as(&task, &mut client, 8).is_pending());
        assert!(poll_write_as(&task, &mut client, b"x").is_pending());
        let gone = if reset {
            client.reset();
            Some(client)
        } else {
            drop(client);
            None
        };
        read(&mut server, 10);
        shutdown(&mut server);
        drop(server);
        assert_eq!((task.woken(), Arc::strong_count(&task)), (0, 1));
        drop(gone);
    }
}

/// B6 "inner idle 0.5 s: RST, UR": a plain close resets a peer that is still writing.
#[test]
fn a_close_without_half_close_is_a_reset_behind_the_queued_bytes() {
    let (mut client, mut server) = small_pair(1024);
    write(&mut server, b"last words");
    drop(server);
    assert_eq!(read(&mut client, 20), b"last words");
    for _again in 0..2 {
        assert_eq!(read_error(&mut client), ConnectionReset);
    }
}

/// An inner idle timeout after the client's FIN was passed on: the outer proxy sees an orderly end, EOF and no flag.
#[test]
fn a_close_is_an_orderly_end_for_a_peer_that_has_finished_writing() {
    let (mut client, mut server) = small_pair(1024);
    shutdown(&mut client);
    write(&mut server, b"last words");
    drop(server);
    assert_eq!(read(&mut client, 20), b"last words");
    assert_eq!(read(&mut client, 20), b"");
}

/// An inner idle timeout after the upstream's FIN was passed on: the outer proxy logs UR and resets its client.
#[test]
fn a_close_after_the_half_close_can_be_noticed_behind_the_end() {
    let (mut client, mut server) = small_pair(1024);
    shutdown(&mut server);
    assert_eq!(read(&mut client, 20), b"");
    let task = Task::new();
    let waker = Waker::from(Arc::clone(&task));
    assert!(client.poll_peer_gone(&mut Context::from_waker(&waker)).is_pending());
    drop(server);
    assert_eq!(task.woken(), 1);
    assert!(client.poll_peer_gone(&mut Context::from_waker(&waker)).is_ready());
    assert_eq!(read(&mut client, 20), b"", "the end that was announced stays the end");
    assert_eq!(write_error(&mut client), BrokenPipe);
}

/// B6 "upstream RST: RST, UR", "client RST: upstream got RST (reset crosses the internal hop)".
#[test]
fn a_reset_crosses_behind_the_queued_bytes() {
    let (mut client, mut server) = small_pair(1024);
    write(&mut client, b"abc");
    let reader = Task::new();
    write(&mut server, b"never read");
    client.reset();
    drop(client);
    assert_eq!(read(&mut server, 10), b"abc");
    assert!(
        matches!(poll_read_as(&reader, &mut server, 8), Poll::Ready(Err(e)) if e.kind() == ConnectionReset)
    );
    assert_eq!(write_error(&mut server), BrokenPipe);
}

/// An upstream RST after the client's FIN: the outer proxy logs UR all the same.
#[test]
fn a_reset_is_one_whatever_was_half_closed_before() {
    let (mut client, mut server) = small_pair(1024);
    shutdown(&mut client);
    shutdown(&mut server);
    server.reset();
    assert_eq!(read_error(&mut client), ConnectionReset);
}

#[test]
fn a_close_frees_what_nobody_will_read() {
    let (mut client, server) = small_pair(1024 * 1024);
    let (mut bytes, alive) = tracked_bytes(100_000);
    assert!(write_bytes(&mut client, &mut bytes).is_ready());
    drop(bytes);
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(server);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn an_end_that_is_dropped_by_a_panic_wakes_its_peer() {
    let (client, mut server) = small_pair(1024);
    let reader = Task::new();
    assert!(poll_read_as(&reader, &mut server, 8).is_pending());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = client;
        std::panic::resume_unwind(Box::new("a filter's bug"));
    }));
    assert!(outcome.is_err());
    assert_eq!(reader.woken(), 1);
    assert_eq!(read_error(&mut server), ConnectionReset);
}

/// Who connects need not wait any longer.
#[test]
fn that_a_relay_has_its_upstream_is_told_to_the_client() {
    let (mut client, server) = small_pair(1024);
    let connecting = Task::new();
    let waker = Waker::from(Arc::clone(&connecting));
    assert!(client.poll_peer_gone(&mut Context::from_waker(&waker)).is_pending());
    assert!(!client.is_established());
    server.note_established();
    server.note_established();
    assert!(client.is_established());
    assert_eq!(connecting.woken(), 1);
}
