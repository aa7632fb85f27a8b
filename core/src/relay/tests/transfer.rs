//! Bytes, memory and flow control.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use proptest::prelude::*;

use super::*;

pub(super) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

/// Sends `payload` in pieces of the given lengths, over and over, then finishes.
async fn send_in_pieces(io: &mut (impl AsyncWriteExt + Unpin), payload: &[u8], lengths: &[usize]) {
    let mut rest = payload;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        io.write_all(piece).await.unwrap();
        rest = behind;
        tokio::task::yield_now().await;
    }
    io.shutdown().await.unwrap();
}

async fn receive_in_pieces(io: &mut (impl AsyncReadExt + Unpin), length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    let mut memory = vec![0; length];
    loop {
        match io.read(&mut memory).await.unwrap() {
            0 => return all,
            n => all.extend_from_slice(&memory[..n]),
        }
        tokio::task::yield_now().await;
    }
}

/// Two payloads at once through a relay; they must arrive as they were sent.
pub(super) async fn exchange(
    client: Wire,
    server: Wire,
    options: RelayOptions,
    payloads: [Vec<u8>; 2],
    pieces: [Vec<usize>; 2],
) {
    let heard = Rc::<Heard>::default();
    let (end, ()) = run(client, server, options, &heard, async |client, server| {
        let (mut client_reads, mut client_writes) = tokio::io::split(client);
        let (mut server_reads, mut server_writes) = tokio::io::split(server);
        let ((), (), at_client, at_server) = tokio::join!(
            send_in_pieces(&mut client_writes, &payloads[0], &pieces[0]),
            send_in_pieces(&mut server_writes, &payloads[1], &pieces[1]),
            receive_in_pieces(&mut client_reads, pieces[0][0]),
            receive_in_pieces(&mut server_reads, pieces[1][0]),
        );
        assert!(at_server == payloads[0] && at_client == payloads[1]);
    })
    .await;
    assert!(matches!(end, Ending::Finished(_)), "{end:?}");
    let [up, down] = payloads.each_ref().map(|payload| payload.len() as u64);
    assert_eq!(heard.bytes(), [up, up, down, down]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_as_they_were_sent(
        kinds in prop::array::uniform2(prop::option::of(prop_oneof![1..5000_usize, Just(1024 * 1024)])),
        limits in prop::array::uniform2(prop_oneof![1..5000_usize, Just(32 * 1024), Just(1024 * 1024)]),
        lengths in prop::array::uniform2(0..300_000_usize),
        pieces in prop::array::uniform2(prop::collection::vec(prop_oneof![100..3000_usize, 1000..90_000_usize], 1..6)),
        pooled: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let wire = async |buffer_size: Option<usize>| match buffer_size {
                None => tcp().await,
                Some(size) => user_space(size),
            };
            let options = RelayOptions {
                downstream_buffer_limit: limits[0],
                upstream_buffer_limit: limits[1],
                pool: if pooled { BufferPool::new() } else { BufferPool::default() },
                ..RelayOptions::default()
            };
            let payloads = [random_bytes(1, lengths[0]), random_bytes(2, lengths[1])];
            exchange(wire(kinds[0]).await, wire(kinds[1]).await, options, payloads, pieces).await;
        });
    }
}

#[tokio::test]
async fn ten_megabytes_each_way_through_kernel_sockets() {
    let payloads = [random_bytes(3, 10_000_000), random_bytes(4, 10_000_000)];
    let pieces = [vec![1_000_000], vec![777_777]];
    let [copied, spliced] = copied_and_spliced();
    let chosen = RelayOptions { pool: BufferPool::new(), ..RelayOptions::default() };
    for options in [copied, spliced, chosen] {
        exchange(tcp().await, tcp().await, options, payloads.clone(), pieces.clone()).await;
    }
}

#[tokio::test]
async fn a_chain_of_two_relays_carries_both_ways() {
    let (client, upstream) = (tcp().await, tcp().await);
    let (mut hop_client, mut hop_server) = {
        let Wire { far, near } = user_space(100_000);
        (far, near)
    };
    let Wire { far: mut user, near: mut downstream } = client;
    let Wire { far: mut server, near: mut last } = upstream;
    let payload = random_bytes(5, 3_000_000);
    let (outer_heard, inner_heard) = (Rc::<RelayCounts>::default(), Rc::<RelayCounts>::default());
    let outer =
        relay(&mut downstream, &mut hop_client, RelayOptions::default(), Rc::clone(&outer_heard) as _);
    let inner = relay(&mut hop_server, &mut last, RelayOptions::default(), Rc::clone(&inner_heard) as _);
    let user = async {
        user.write_all(&payload).await.unwrap();
        user.shutdown().await.unwrap();
        read_to_end(&mut user).await.unwrap()
    };
    let server = async {
        let seen = read_to_end(&mut server).await.unwrap();
        server.write_all(b"got it").await.unwrap();
        server.shutdown().await.unwrap();
        seen
    };
    let (outer, inner, reply, seen) = tokio::join!(outer, inner, user, server);
    assert!(seen == payload && reply == b"got it");
    assert_eq!(Ending::from(outer), Ending::Finished(Side::Downstream));
    assert_eq!(Ending::from(inner), Ending::Finished(Side::Downstream));
    assert_eq!(inner_heard.downstream_read.get(), 3_000_000);
}

#[tokio::test]
async fn messages_of_one_byte_go_back_and_forth() {
    let pool = BufferPool::new();
    let options = RelayOptions { pool: pool.clone(), ..RelayOptions::default() };
    let heard = Rc::<Heard>::default();
    let (end, ()) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
        for round in 0..200 {
            client.write_u8(round).await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), round);
            server.write_u8(round).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), round);
        }
    })
    .await;
    assert_eq!(end, Ending::Finished(Side::Downstream));
    assert_eq!(heard.bytes(), [200; 4]);
    assert!(pool.kept() <= 8 * 1024, "small messages need small buffers, {} bytes kept", pool.kept());
}

#[tokio::test]
async fn nothing_at_all_is_relayed_in_order() {
    let heard = Rc::<Heard>::default();
    let (end, (client, server)) =
        run(tcp().await, tcp().await, RelayOptions::default(), &heard, async |mut client, mut server| {
            client.shutdown().await.unwrap();
            let at_server = read_to_end(&mut server).await.unwrap();
            server.shutdown().await.unwrap();
            (read_to_end(&mut client).await.unwrap(), at_server)
        })
        .await;
    assert_eq!((end, client, server), (Ending::Finished(Side::Downstream), vec![], vec![]));
    assert_eq!(heard.bytes(), [0; 4]);
}

#[tokio::test]
async fn early_data_goes_first_and_is_not_counted_again() {
    let heard = Rc::<Heard>::default();
    let options = RelayOptions { early_data: Bytes::from_static(b"early "), ..RelayOptions::default() };
    let (_, seen) = run(user_space(1000), tcp().await, options, &heard, async |mut client, mut server| {
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        read_to_end(&mut server).await.unwrap()
    })
    .await;
    assert_eq!(seen, b"early late");
    assert_eq!(heard.bytes()[..2], [4, 10]);
}

#[tokio::test]
async fn idle_relays_hold_no_buffer() {
    let pool = BufferPool::new();
    let options = RelayOptions { pool: pool.clone(), ..RelayOptions::default() };
    let heard = Rc::<Heard>::default();
    run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
        settle().await;
        let idle = pool.kept();
        let payload = random_bytes(6, 2_000_000);
        let mut seen = vec![0; payload.len()];
        let (sent, received) = tokio::join!(client.write_all(&payload), server.read_exact(&mut seen));
        sent.unwrap();
        received.unwrap();
        settle().await;
        assert!(seen == payload && pool.kept() > idle, "{} bytes kept", pool.kept());
        let after_bulk = pool.kept();
        client.write_all(b"x").await.unwrap();
        assert_eq!(read_text(&mut server, 1).await, "x");
        settle().await;
        assert_eq!(pool.kept(), after_bulk);
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_sender() {
    let heard = Rc::<Heard>::default();
    let limit = 16 * 1024;
    let options = RelayOptions { upstream_buffer_limit: limit, fuse_hops: false, ..RelayOptions::default() };
    run(user_space(50_000), user_space(50_000), options, &heard, async |mut client, mut server| {
        let pushed = push_until_blocked(&mut client).await;
        assert!((100_000..=100_000 + limit).contains(&pushed), "{pushed} bytes taken");
        assert_eq!(*heard.events.borrow(), ["Downstream paused"]);
        let mut memory = vec![0; pushed];
        server.read_exact(&mut memory).await.unwrap();
        assert_eq!(*heard.events.borrow(), ["Downstream paused", "Downstream resumed"]);
    })
    .await;
}

#[tokio::test]
async fn large_bytes_pass_between_user_space_sockets_without_a_copy() {
    let heard = Rc::<Heard>::default();
    let (client, server) = (user_space(1024 * 1024), user_space(1024 * 1024));
    run(client, server, RelayOptions::default(), &heard, async |mut client, mut server| {
        let mut bytes = Bytes::from(vec![1; 100_000]);
        let memory = bytes.as_ptr();
        std::future::poll_fn(|cx| client.poll_write_bytes(cx, &mut bytes)).await.unwrap();
        let arrived = std::future::poll_fn(|cx| server.poll_read_bytes(cx, usize::MAX)).await.unwrap();
        assert_eq!((arrived.as_ptr(), arrived.len()), (memory, 100_000));
    })
    .await;
    assert_eq!(heard.bytes(), [100_000, 100_000, 0, 0]);
}

#[tokio::test]
async fn a_blocked_direction_does_not_block_the_other() {
    let heard = Rc::<Heard>::default();
    run(
        user_space(1000),
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            push_until_blocked(&mut server).await;
            assert_eq!(*heard.events.borrow(), ["Upstream paused"]);
            client.write_all(b"still here").await.unwrap();
            assert_eq!(read_text(&mut server, 10).await, "still here");
        },
    )
    .await;
}

/// Envoy counts `upstream_flush_total` when downstream is closed both ways and bytes still wait for upstream.
#[tokio::test]
async fn an_upstream_flush_is_told() {
    let heard = Rc::<Heard>::default();
    let (end, seen) =
        run(tcp().await, user_space(1000), RelayOptions::default(), &heard, async |client, mut server| {
            server.shutdown().await.unwrap();
            let mut client = client;
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"");
            client.write_all(&[1; 3000]).await.unwrap();
            client.shutdown().await.unwrap();
            while !heard.events.borrow().iter().any(|event| event == "flush started") {
                tokio::task::yield_now().await;
            }
            read_to_end(&mut server).await.unwrap()
        })
        .await;
    assert_eq!((end, seen.len()), (Ending::Finished(Side::Upstream), 3000));
    assert_eq!(
        *heard.events.borrow(),
        ["Upstream ended", "Downstream ended", "flush started", "flush finished"]
    );
}

/// A waker that remembers.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_connection_that_never_has_to_wait_gives_way_to_others() {
    const SENT: usize = 2 * 1024 * 1024;
    let (mut client, mut server) = (user_space(2 * SENT), user_space(2 * SENT));
    client.far.write_all(&vec![7; SENT]).await.unwrap();
    let heard = Rc::<Heard>::default();
    let mut relay =
        pin!(relay(&mut client.near, &mut server.near, RelayOptions::default(), Rc::clone(&heard) as _));
    let woken = Arc::<Woken>::default();
    let waker = Waker::from(Arc::clone(&woken));
    for turn in 1..=4 {
        woken.0.store(false, Ordering::Relaxed);
        assert!(relay.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let moved = usize::try_from(heard.counts.upstream_written.get()).unwrap();
        assert!((turn * 256 * 1024..turn * 512 * 1024).contains(&moved), "{moved} bytes after turn {turn}");
        assert!(woken.0.load(Ordering::Relaxed), "it wants to go on");
    }
}

/// Envoy writes in a later turn of its loop, so it always finds them waiting.
#[tokio::test]
async fn bytes_that_come_with_the_last_end_count_as_flushed() {
    for (bytes, flushes) in [(3, 1), (0, 0)] {
        let heard = Rc::<Heard>::default();
        let play = async |mut client: BoxIo, mut server: BoxIo| {
            server.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"");
            client.write_all(&[1; 3][..bytes]).await.unwrap();
            client.shutdown().await.unwrap();
            read_to_end(&mut server).await.unwrap().len()
        };
        let (end, seen) =
            run(user_space(1000), user_space(1000), RelayOptions::default(), &heard, play).await;
        assert_eq!((end, seen), (Ending::Finished(Side::Upstream), bytes));
        let told = heard.events.borrow().iter().filter(|event| *event == "flush finished").count();
        assert_eq!(told, flushes, "{bytes} bytes");
    }
}

#[test]
fn a_relay_is_small() {
    // One lives in the task of every connection; grow it knowingly.
    let sizes = [size_of::<Relay<'_>>(), size_of::<OwnedRelay>()];
    assert!(sizes[0] <= 184 && sizes[1] <= 200, "{sizes:?} bytes");
}
