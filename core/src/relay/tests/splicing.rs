//! Bytes that pass inside the kernel: the same bytes, ends and counts as if they were copied, and when they do.

use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::transfer::{exchange, random_bytes};
use super::*;
use crate::forward_io;
use crate::io::Io;

fn unix() -> Wire {
    let (far, near) = UnixStream::pair().unwrap();
    Wire { far: Box::new(far), near: Box::new(near) }
}

/// What a watched stream was asked for, and what it refuses although it says that it splices.
#[derive(Default)]
struct Watch {
    spliced_in: Cell<u32>,
    spliced_out: Cell<u32>,
    refuses_in: bool,
    refuses_out: bool,
}

struct Watched {
    io: BoxIo,
    watch: Rc<Watch>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Io for Watched {
    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let spliced = if self.watch.refuses_in {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        } else {
            self.io.poll_splice_in(cx, pipe, max)
        };
        self.watch.spliced_in.set(self.watch.spliced_in.get() + u32::from(spliced.is_ready()));
        spliced
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.watch.spliced_out.set(self.watch.spliced_out.get() + 1);
        if self.watch.refuses_out {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        self.io.poll_splice_out(cx, pipe, len)
    }

    forward_io!(self => self.io; except poll_splice_in, poll_splice_out);
}

fn watched(wire: Wire, watch: &Rc<Watch>) -> Wire {
    Wire { far: wire.far, near: Box::new(Watched { io: wire.near, watch: Rc::clone(watch) }) }
}

/// A pool whose relays splice as usual, and options with it.
fn usual() -> (BufferPool, RelayOptions) {
    let pool = BufferPool::new();
    (pool.clone(), RelayOptions { pool, ..RelayOptions::default() })
}

/// Fills all that lies between a kernel socket and a far end that does not read, and says how much that took.
async fn fill(io: &mut BoxIo) -> usize {
    let (mut filled, piece) = (0, vec![1; 100_000]);
    loop {
        tokio::select! {
            biased;
            n = io.write(&piece) => filled += n.unwrap(),
            () = settle() => return filled,
        }
    }
}

async fn pass(client: &mut BoxIo, server: &mut BoxIo, payload: &[u8]) {
    let mut seen = vec![0; payload.len()];
    let (sent, received) = tokio::join!(client.write_all(payload), server.read_exact(&mut seen));
    sent.unwrap();
    received.unwrap();
    assert!(seen == payload);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn spliced_bytes_arrive_as_they_were_sent(
        unix_sockets in prop::array::uniform2(any::<bool>()),
        pipe_size in prop_oneof![Just(4096), Just(64 * 1024), Just(1024 * 1024)],
        after_pieces in 0..4_u8,
        limits in prop::array::uniform2(prop_oneof![1..5000_usize, Just(100_000), Just(1024 * 1024)]),
        lengths in prop::array::uniform2(0..900_000_usize),
        pieces in prop::array::uniform2(prop::collection::vec(prop_oneof![50..3000_usize, 1000..200_000_usize], 1..6)),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wire = async |is_unix| if is_unix { unix() } else { tcp().await };
            let splice = SpliceOptions { large_piece: 1, after_pieces, small_piece: 2000, pipe_size };
            let options = RelayOptions {
                downstream_buffer_limit: limits[0],
                upstream_buffer_limit: limits[1],
                pool: BufferPool::with_splice(Some(splice)),
                ..RelayOptions::default()
            };
            let payloads = [random_bytes(1, lengths[0]), random_bytes(2, lengths[1])];
            exchange(wire(unix_sockets[0]).await, wire(unix_sockets[1]).await, options, payloads, pieces).await;
        });
    }

    /// How much arrives before a reset depends on the moment; that it is the beginning of what was sent does not.
    #[test]
    fn a_reset_leaves_the_beginning_of_what_was_sent(
        length in 1..2_000_000_usize,
        reset_after in 0..1_000_000_usize,
        pipe_size in prop_oneof![Just(4096), Just(1024 * 1024)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let heard = Rc::<Heard>::default();
            let payload = random_bytes(3, length);
            let play = async |client: BoxIo, mut server: BoxIo| {
                let (_reads, mut writes) = tokio::io::split(client);
                let send = async { drop(writes.write_all(&payload).await) };
                let receive = async {
                    let mut seen = vec![0; reset_after.min(length)];
                    server.read_exact(&mut seen).await.unwrap();
                    server.reset();
                    drop(server);
                    seen
                };
                tokio::join!(send, receive).1
            };
            let (end, seen) = run(tcp().await, tcp().await, all_spliced(pipe_size), &heard, play).await;
            assert!(payload.starts_with(&seen));
            assert!(matches!(end, Ending::Failed(Side::Upstream, ..)), "{end:?}");
            let [read, written, ..] = heard.bytes();
            assert!(seen.len() as u64 <= written && written <= read && read <= length as u64);
        });
    }
}

#[tokio::test]
async fn bulk_is_spliced_and_a_pipe_is_held_only_while_bytes_are_in_it() {
    let (pool, options) = usual();
    let heard = Rc::<Heard>::default();
    run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
        pass(&mut client, &mut server, &random_bytes(1, 100_000)).await;
        settle().await;
        assert_eq!(pool.pipes(), (0, 0), "that is no bulk yet");
        pass(&mut client, &mut server, &random_bytes(2, 10_000_000)).await;
        settle().await;
        assert_eq!(pool.pipes(), (1, 0), "idle, so the pipe waits for whoever needs it next");
    })
    .await;
    assert_eq!(heard.bytes(), [10_100_000, 10_100_000, 0, 0]);
}

#[tokio::test]
async fn messages_are_never_spliced() {
    let (pool, options) = usual();
    run(tcp().await, tcp().await, options, &Rc::default(), async |mut client, mut server| {
        for round in 0..300 {
            pass(&mut client, &mut server, &random_bytes(round, 16_000)).await;
        }
    })
    .await;
    assert_eq!(pool.pipes(), (0, 0));
}

#[tokio::test]
async fn small_pieces_end_splicing() {
    let (_, options) = usual();
    let watch = Rc::<Watch>::default();
    let client = watched(tcp().await, &watch);
    run(client, tcp().await, options, &Rc::default(), async |mut client, mut server| {
        pass(&mut client, &mut server, &random_bytes(1, 10_000_000)).await;
        let in_bulk = watch.spliced_in.get();
        assert!(in_bulk > 0);
        for _ in 0..100 {
            pass(&mut client, &mut server, b"message").await;
        }
        let after = watch.spliced_in.get() - in_bulk;
        assert!(after <= 8, "{after} messages were spliced");
    })
    .await;
}

#[tokio::test]
async fn a_low_buffer_limit_leaves_no_room_for_splicing() {
    let (pool, options) = usual();
    let options = RelayOptions { upstream_buffer_limit: 32 * 1024, ..options };
    run(tcp().await, tcp().await, options, &Rc::default(), async |mut client, mut server| {
        pass(&mut client, &mut server, &random_bytes(1, 10_000_000)).await;
    })
    .await;
    assert_eq!(pool.pipes(), (0, 0));
}

#[tokio::test]
async fn bytes_in_a_pipe_count_against_the_limit_and_come_before_the_end() {
    const LIMIT: usize = 100_000;
    let heard = Rc::<Heard>::default();
    let options = RelayOptions { upstream_buffer_limit: LIMIT, ..all_spliced(1024 * 1024) };
    let pool = options.pool.clone();
    let (end, ()) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
        let filled = fill(&mut client).await;
        let [read, written, ..] = heard.bytes();
        assert!((1..=LIMIT as u64).contains(&(read - written)), "{read} read, {written} written");
        assert_eq!(pool.pipes().1, 1, "one of them is in use");
        assert_eq!(heard.events.borrow().last().unwrap(), "Downstream paused");
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut server).await.unwrap().len(), filled);
        assert!(heard.events.borrow().iter().any(|event| event == "Downstream resumed"));
    })
    .await;
    assert_eq!(end, Ending::Finished(Side::Downstream));
    assert_eq!(pool.pipes().1, 0);
}

#[tokio::test]
async fn a_relay_that_is_dropped_keeps_no_pipe_with_bytes() {
    let (mut client, mut server) = (tcp().await, tcp().await);
    let options = all_spliced(1024 * 1024);
    let pool = options.pool.clone();
    {
        let mut relay = pin!(relay(&mut client.near, &mut server.near, options, Rc::<Heard>::default() as _));
        tokio::select! {
            biased;
            end = &mut relay => panic!("{end:?}"),
            _ = fill(&mut client.far) => {}
        }
        assert_eq!(pool.pipes().1, 1);
    }
    assert_eq!(pool.pipes(), (1, 0), "the one that the other direction did not need");
}

#[tokio::test]
async fn a_source_that_cannot_be_spliced_after_all_is_read() {
    let watch = Rc::new(Watch { refuses_in: true, ..Watch::default() });
    let client = watched(tcp().await, &watch);
    let payloads = [random_bytes(1, 1_000_000), random_bytes(2, 1000)];
    exchange(client, tcp().await, all_spliced(4096), payloads, [vec![100_000], vec![1000]]).await;
    assert_eq!(watch.spliced_in.get(), 1, "it is not tried again");
}

#[tokio::test]
async fn bytes_are_taken_back_from_a_pipe_that_the_sink_refuses() {
    let watch = Rc::new(Watch { refuses_out: true, ..Watch::default() });
    let server = watched(tcp().await, &watch);
    let payloads = [random_bytes(1, 1_000_000), random_bytes(2, 1000)];
    exchange(tcp().await, server, all_spliced(1024 * 1024), payloads, [vec![100_000], vec![1000]]).await;
    assert_eq!(watch.spliced_out.get(), 1, "it is not tried again");
}

#[tokio::test]
async fn whoever_gets_no_pipe_copies() {
    let options = all_spliced(1024 * 1024);
    let pool = options.pool.clone();
    let lent: Vec<_> = std::iter::from_fn(|| pool.take_pipe(4096, 1)).collect();
    let payloads = [random_bytes(1, 1_000_000), random_bytes(2, 1000)];
    exchange(tcp().await, tcp().await, options, payloads, [vec![100_000], vec![1000]]).await;
    assert_eq!(pool.pipes(), (0, lent.len()));
    lent.into_iter().for_each(|pipe| pool.give_pipe(pipe));
}
