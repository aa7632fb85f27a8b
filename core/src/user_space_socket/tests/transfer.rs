//! Bytes, watermarks and wake-ups. Each test names the line of Envoy's list (A3) that it stands for.

use std::io::IoSlice;

use super::*;
use crate::stream_info::Passthrough;

/// "read/readv/recv return EAGAIN when empty, 0 (EOF) after peer write-end".
#[test]
fn an_empty_socket_waits_and_a_finished_one_ends() {
    let (mut client, mut server) = small_pair(1024);
    assert!(poll_read(&mut server, 8).is_pending());
    assert!(with_context(|cx| server.poll_read_bytes(cx, 8)).is_pending());
    shutdown(&mut client);
    assert_eq!(read(&mut server, 8), b"");
    assert_eq!(read(&mut server, 8), b"", "the end stays the end");
}

/// "pending data is delivered before EOF; zero-capacity read is ok".
#[test]
fn queued_bytes_come_before_the_end() {
    let (mut client, mut server) = small_pair(1024);
    write(&mut client, b"abcdef");
    shutdown(&mut client);
    assert_eq!(read(&mut server, 0), b"");
    assert_eq!(read(&mut server, 4), b"abcd");
    assert_eq!(read(&mut server, 4), b"ef");
    assert_eq!(read(&mut server, 4), b"");
}

/// "`recv(+MSG_PEEK)`".
#[test]
fn peeking_leaves_the_bytes_and_does_not_wait_for_a_full_buffer() {
    let (mut client, mut server) = small_pair(64 * 1024);
    let peek = |server: &mut UserSpaceSocket| {
        let mut memory = [0; 16];
        let mut buf = ReadBuf::new(&mut memory);
        with_context(|cx| server.poll_peek(cx, &mut buf)).map_ok(|()| buf.filled().to_vec())
    };
    assert!(peek(&mut server).is_pending());
    write(&mut client, b"ab");
    let mut moved = Bytes::from(vec![b'c'; 9000]);
    assert!(write_bytes(&mut client, &mut moved).is_ready());
    for _again in 0..2 {
        assert!(matches!(peek(&mut server), Poll::Ready(Ok(bytes)) if bytes == b"abcccccccccccccc"));
    }
    assert_eq!(read(&mut server, 3), b"abc");
    shutdown(&mut client);
    assert_eq!(read(&mut server, 9000).len(), 8999);
    assert!(matches!(peek(&mut server), Poll::Ready(Ok(bytes)) if bytes.is_empty()));
}

/// "write moves (not copies) buffers".
#[test]
fn large_owned_bytes_change_hands_without_a_copy() {
    let (mut client, mut server) = small_pair(64 * 1024);
    let mut bytes = Bytes::from(vec![1; 10_000]);
    let memory = bytes.as_ptr();
    assert!(matches!(write_bytes(&mut client, &mut bytes), Poll::Ready(Ok(10_000))));
    assert!(bytes.is_empty() && server.lends_bytes());
    let Poll::Ready(Ok(piece)) = with_context(|cx| server.poll_read_bytes(cx, 4000)) else { panic!() };
    assert_eq!((piece.len(), piece.as_ptr()), (4000, memory));
    let Poll::Ready(Ok(rest)) = with_context(|cx| server.poll_read_bytes(cx, 100_000)) else { panic!() };
    assert_eq!(rest.len(), 6000);
}

/// "buffer fragments stay alive until drained; drain trackers fire at write time": what was accepted is told by the
/// write, and the memory goes when it was read.
#[test]
fn handed_over_memory_lives_until_it_is_read() {
    let (mut bytes, alive) = tracked_bytes(10_000);
    let (mut client, mut server) = small_pair(64 * 1024);
    assert!(matches!(write_bytes(&mut client, &mut bytes), Poll::Ready(Ok(10_000))));
    drop(bytes);
    assert_eq!(read(&mut server, 9999).len(), 9999);
    assert_eq!(Arc::strong_count(&alive), 2);
    read(&mut server, 1);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn small_writes_share_a_chunk() {
    let (mut client, server) = small_pair(1024 * 1024);
    for _ in 0..10_000 {
        write(&mut client, b"x");
    }
    assert_eq!(server.unread(), 10_000);
    assert!(server.held() < 20_000, "{} bytes held", server.held());
}

#[test]
fn a_drained_socket_holds_no_memory() {
    let (mut client, mut server) = small_pair(1024 * 1024);
    write(&mut client, &vec![1; 100_000]);
    assert_eq!(read(&mut server, 100_000).len(), 100_000);
    assert_eq!((server.unread(), server.held()), (0, 0));
}

#[test]
fn vectored_writes_arrive_as_one_stream() {
    let (mut client, mut server) = small_pair(1024);
    assert!(client.is_write_vectored());
    let slices = [IoSlice::new(b""), IoSlice::new(b"ab"), IoSlice::new(b"cde")];
    let written = with_context(|cx| Pin::new(&mut client).poll_write_vectored(cx, &slices));
    assert!(matches!(written, Poll::Ready(Ok(5))));
    assert_eq!(read(&mut server, 10), b"abcde");
}

/// "watermark: write moves up to high watermark, then EAGAIN".
#[test]
fn writes_stop_at_the_buffer_size() {
    for buffer_size in [1, 2, 3, 100, 1024, 5 * 1024, 128 * 1024, 1024 * 1024] {
        let (mut client, server) = small_pair(buffer_size);
        assert_eq!(fill(&mut client), buffer_size);
        assert_eq!(server.held(), buffer_size);
        let mut bytes = Bytes::from_static(&[0; 10_000]);
        assert!(write_bytes(&mut client, &mut bytes).is_pending());
        let slices = [IoSlice::new(b"x")];
        assert!(with_context(|cx| Pin::new(&mut client).poll_write_vectored(cx, &slices)).is_pending());
    }
}

#[test]
fn owned_bytes_that_do_not_fit_are_taken_in_part() {
    let (mut client, mut server) = small_pair(30_000);
    let mut bytes = Bytes::from(vec![3; 40_000]);
    assert!(matches!(write_bytes(&mut client, &mut bytes), Poll::Ready(Ok(30_000))));
    assert_eq!(bytes.len(), 10_000);
    assert!(write_bytes(&mut client, &mut bytes).is_pending());
    assert_eq!(read(&mut server, 40_000).len(), 30_000);
    assert!(matches!(write_bytes(&mut client, &mut bytes), Poll::Ready(Ok(10_000))));
}

/// "peer becomes writable again only when drained to the low watermark, and that schedules a Write event at the
/// writer".
#[test]
fn a_blocked_writer_is_woken_once_at_the_low_watermark() {
    let (mut client, mut server) = small_pair(64 * 1024);
    fill(&mut client);
    let writer = Task::new();
    assert!(poll_write_as(&writer, &mut client, b"x").is_pending());
    while server.held() > 48 * 1024 {
        read(&mut server, 1000);
    }
    assert_eq!(writer.woken(), 0);
    assert!(poll_write_as(&writer, &mut client, b"x").is_pending(), "still above the low watermark");
    while server.held() > 32 * 1024 {
        read(&mut server, 1000);
    }
    assert_eq!(writer.woken(), 1);
    assert!(poll_write_as(&writer, &mut client, b"x").is_ready());
    read(&mut server, 64 * 1024);
    assert_eq!(writer.woken(), 1);
}

/// "events are edge-triggered": a waiting reader is woken by the first bytes, not again by more of them.
#[test]
fn a_waiting_reader_is_woken_once_for_each_wait() {
    let (mut client, mut server) = small_pair(1024);
    let reader = Task::new();
    assert!(poll_read_as(&reader, &mut server, 8).is_pending());
    write(&mut client, b"a");
    write(&mut client, b"b");
    assert_eq!(reader.woken(), 1);
    assert!(poll_read_as(&reader, &mut server, 8).is_ready());
    assert!(poll_read_as(&reader, &mut server, 8).is_pending());
    write(&mut client, b"c");
    assert_eq!(reader.woken(), 2);
}

/// "enabling events re-arms": the last task that waits is the one that is woken.
#[test]
fn a_socket_that_moves_to_another_task_wakes_that_one() {
    let (mut client, mut server) = small_pair(1024);
    let (first, second) = (Task::new(), Task::new());
    assert!(poll_read_as(&first, &mut server, 8).is_pending());
    assert!(poll_read_as(&second, &mut server, 8).is_pending());
    write(&mut client, b"a");
    assert_eq!((first.woken(), second.woken()), (0, 1));
}

/// "reads to a watermarked buffer are throttled the same way": nobody gets more than was asked for.
#[test]
fn a_read_takes_no_more_than_it_asked_for() {
    let (mut client, mut server) = small_pair(1024 * 1024);
    write(&mut client, &vec![1; 200_000]);
    assert_eq!(read(&mut server, 70_000).len(), 70_000);
    let Poll::Ready(Ok(piece)) = with_context(|cx| server.poll_read_bytes(cx, 10)) else { panic!() };
    assert_eq!(piece.len(), 10);
    assert_eq!(server.unread(), 129_990);
}

/// "max 8x16 KiB per op": here the task's budget bounds a turn. A pair that always has room must yield all the same.
#[tokio::test]
async fn a_busy_pair_yields_to_other_tasks() {
    let (mut client, mut server) = small_pair(1024);
    let mut turns = 0_u32;
    let busy = std::future::poll_fn(|cx| {
        for _ in 0..1000 {
            std::task::ready!(Pin::new(&mut client).poll_write(cx, b"x"))?;
            let mut memory = [0; 8];
            std::task::ready!(Pin::new(&mut server).poll_read(cx, &mut ReadBuf::new(&mut memory)))?;
            turns += 1;
        }
        Poll::Ready(io::Result::Ok(()))
    });
    tokio::select! {
        biased;
        _ = busy => panic!("ran through without yielding"),
        () = std::future::ready(()) => {}
    }
    assert!((10..1000).contains(&turns), "{turns} turns");
}

/// "local/peer address of the handle itself are internal addresses; no interface name, no RTT, no domain".
#[test]
fn both_ends_know_their_internal_addresses_and_no_kernel_socket() {
    let (client, mut server) = small_pair(1024);
    assert_eq!(client.local_address().to_string(), "envoy://internal_client_address/");
    assert_eq!(client.remote_address().to_string(), "envoy://inner/ep1");
    assert_eq!(server.local_address(), client.remote_address());
    assert_eq!(server.remote_address(), client.local_address());
    assert!(client.kernel_socket().is_none() && server.user_space_socket().is_some());
}

/// "passthrough state: initialise once on client side, merge on server side".
#[test]
fn the_passthrough_state_crosses_once() {
    let (client, server) = small_pair(1024);
    assert!(server.take_passthrough().is_none());
    client.set_passthrough(Passthrough { internal_hops: 3, ..Passthrough::default() });
    assert_eq!(server.take_passthrough().unwrap().internal_hops, 3);
    assert!(server.take_passthrough().is_none());
}

#[test]
fn what_a_waker_does_may_come_back_to_the_pair() {
    /// Drops the other end when it is woken. Wakers must be `Send`, so the end travels in a thread-local.
    struct DropsOnWake;
    thread_local! {
        static END: std::cell::RefCell<Option<UserSpaceSocket>> = const { std::cell::RefCell::new(None) };
    }
    impl Wake for DropsOnWake {
        fn wake(self: Arc<Self>) {
            END.with_borrow_mut(Option::take);
        }
    }
    let (mut client, mut server) = small_pair(1024);
    let waker = Waker::from(Arc::new(DropsOnWake));
    let mut memory = [0; 8];
    let waits =
        Pin::new(&mut server).poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut memory));
    assert!(waits.is_pending());
    END.with_borrow_mut(|end| *end = Some(server));
    write(&mut client, b"x");
    assert_eq!(write_error(&mut client), io::ErrorKind::BrokenPipe);
}
