//! Who ended a relay, and how. Rows of Envoy's close matrix (B6) are named where they apply.

use super::*;
use Operation::{Read, Write};
use Side::{Downstream, Upstream};
use io::ErrorKind::{BrokenPipe, ConnectionReset};

/// Both ends of a relay on kernel sockets, copying and splicing, and on user-space sockets.
async fn each_kind() -> [(Wire, Wire, RelayOptions); 3] {
    let [copied, spliced] = copied_and_spliced();
    [
        (tcp().await, tcp().await, copied),
        (tcp().await, tcp().await, spliced),
        (user_space(1000), user_space(1000), RelayOptions::default()),
    ]
}

/// "client FIN, upstream replies after: reply + EOF".
#[tokio::test]
async fn a_client_that_finishes_first_gets_its_answer() {
    for options in copied_and_spliced() {
        let heard = Rc::<Heard>::default();
        let (end, answer) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut server).await.unwrap(), b"question");
            server.write_all(b"answer").await.unwrap();
            drop(server);
            read_to_end(&mut client).await.unwrap()
        })
        .await;
        assert_eq!((end, answer), (Ending::Finished(Downstream), b"answer".to_vec()));
        assert_eq!(*heard.events.borrow(), ["Downstream ended", "Upstream ended"]);
    }
}

/// "upstream FIN, client sends 5000 B later: EOF, upstream got 5000".
#[tokio::test]
async fn an_upstream_that_finishes_first_still_listens() {
    for options in copied_and_spliced() {
        let heard = Rc::<Heard>::default();
        let (end, seen) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
            server.write_all(b"bye").await.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"bye");
            client.write_all(&[1; 5000]).await.unwrap();
            drop(client);
            read_to_end(&mut server).await.unwrap()
        })
        .await;
        assert_eq!((end, seen.len()), (Ending::Finished(Upstream), 5000));
    }
}

/// "client RST: upstream got RST".
#[tokio::test]
async fn a_client_that_resets_is_named() {
    for (client, server, options) in each_kind().await {
        let heard = Rc::<Heard>::default();
        let (end, seen) = run(client, server, options, &heard, async |mut client, mut server| {
            client.write_all(b"hi").await.unwrap();
            assert_eq!(read_text(&mut server, 2).await, "hi");
            client.reset();
            drop(client);
            read_what_comes(&mut server).await
        })
        .await;
        assert_eq!(end, Ending::Failed(Downstream, Read, ConnectionReset));
        assert_eq!(seen, (vec![], Some(ConnectionReset)));
    }
}

/// "upstream RST: RST, UR"; what was sent before it arrives.
#[tokio::test]
async fn an_upstream_that_resets_is_named() {
    for (client, server, options) in each_kind().await {
        let heard = Rc::<Heard>::default();
        let (end, seen) = run(client, server, options, &heard, async |mut client, mut server| {
            server.write_all(b"half an ans").await.unwrap();
            assert_eq!(read_text(&mut client, 11).await, "half an ans");
            server.reset();
            drop(server);
            read_what_comes(&mut client).await
        })
        .await;
        assert_eq!(end, Ending::Failed(Upstream, Read, ConnectionReset));
        assert_eq!(seen, (vec![], Some(ConnectionReset)));
    }
}

/// Envoy: UR, and the client is reset, although it had finished before.
#[tokio::test]
async fn a_reset_counts_after_the_other_side_has_finished() {
    for (client, server, options) in each_kind().await {
        let heard = Rc::<Heard>::default();
        let (end, seen) = run(client, server, options, &heard, async |mut client, mut server| {
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut server).await.unwrap(), b"");
            server.reset();
            drop(server);
            read_what_comes(&mut client).await
        })
        .await;
        assert_eq!(end, Ending::Failed(Upstream, Read, ConnectionReset));
        assert_eq!(seen, (vec![], Some(ConnectionReset)));
    }
}

/// "inner idle: outer logs UR": a hop that is closed without a half-close resets.
#[tokio::test]
async fn a_hop_that_is_just_closed_is_a_reset() {
    let heard = Rc::<Heard>::default();
    let (end, seen) = run(
        tcp().await,
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            server.write_all(b"last").await.unwrap();
            drop(server);
            read_what_comes(&mut client).await
        },
    )
    .await;
    assert_eq!(end, Ending::Failed(Upstream, Read, ConnectionReset));
    assert_eq!(seen, (b"last".to_vec(), Some(ConnectionReset)));
}

/// Envoy: an inner idle timeout after the client's FIN is an orderly end for the outer proxy.
#[tokio::test]
async fn a_hop_that_is_closed_after_we_have_finished_is_an_orderly_end() {
    let heard = Rc::<Heard>::default();
    let (end, seen) = run(
        tcp().await,
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            client.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut server).await.unwrap(), b"");
            server.write_all(b"last").await.unwrap();
            drop(server);
            read_what_comes(&mut client).await
        },
    )
    .await;
    assert_eq!((end, seen), (Ending::Finished(Downstream), (b"last".to_vec(), None)));
}

/// Envoy: an inner idle timeout after the upstream's FIN makes the outer proxy log UR at once.
#[tokio::test]
async fn a_hop_that_is_closed_after_its_half_close_is_noticed_at_once() {
    let heard = Rc::<Heard>::default();
    let (end, ()) = run(
        tcp().await,
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            server.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"");
            settle().await;
            drop(server);
            settle().await;
            drop(client);
        },
    )
    .await;
    assert_eq!(end, Ending::FailedAfterEnd(Upstream, Read, ConnectionReset));
}

/// The same, while the client has bytes on their way.
#[tokio::test]
async fn a_hop_that_is_closed_under_a_blocked_write_is_a_reset_too() {
    let heard = Rc::<Heard>::default();
    let (end, ()) = run(
        user_space(1000),
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            server.shutdown().await.unwrap();
            push_until_blocked(&mut client).await;
            drop(server);
            settle().await;
        },
    )
    .await;
    assert_eq!(end, Ending::FailedAfterEnd(Upstream, Read, ConnectionReset));
}

/// Nobody would notice otherwise until the upstream takes bytes again, and it may never do so.
#[tokio::test]
async fn a_client_that_aborts_while_the_upstream_takes_nothing_is_noticed() {
    let heard = Rc::<Heard>::default();
    let (end, ()) = run(
        user_space(1000),
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, server| {
            push_until_blocked(&mut client).await;
            drop(client);
            settle().await;
            drop(server);
        },
    )
    .await;
    assert_eq!(end, Ending::Failed(Downstream, Read, ConnectionReset));
}

/// One that has finished, and then leaves, gets all that it sent to the upstream.
#[tokio::test]
async fn a_client_that_finishes_and_leaves_while_the_upstream_takes_nothing_is_not_cut_short() {
    let heard = Rc::<Heard>::default();
    let (_, (pushed, received)) = run(
        user_space(1000),
        user_space(1000),
        RelayOptions::default(),
        &heard,
        async |mut client, mut server| {
            let pushed = push_until_blocked(&mut client).await;
            client.shutdown().await.unwrap();
            drop(client);
            settle().await;
            (pushed, read_what_comes(&mut server).await.0.len())
        },
    )
    .await;
    assert_eq!(received, pushed);
}

/// Envoy does not flag this one (the upstream closed in order, the client talked on): the caller can tell.
#[tokio::test]
async fn a_write_after_an_upstreams_orderly_close_fails_as_a_write() {
    for options in copied_and_spliced() {
        let heard = Rc::<Heard>::default();
        let (end, ()) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
            server.write_all(b"resp").await.unwrap();
            drop(server);
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"resp");
            while client.write_all(b"more").await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(
            matches!(end, Ending::FailedAfterEnd(Upstream, Write, BrokenPipe | ConnectionReset)),
            "{end:?}"
        );
    }
}

/// An upstream that refuses a large upload answers, and closes with unread bytes, which makes the kernel reset.
#[tokio::test]
async fn an_early_answer_gets_through_although_the_upload_fails() {
    for round in 0..20 {
        let [copied, spliced] = copied_and_spliced();
        let options = if round % 2 == 0 { copied } else { spliced };
        let heard = Rc::<Heard>::default();
        let (end, answer) = run(tcp().await, tcp().await, options, &heard, async |client, mut server| {
            let (mut reads, mut writes) = tokio::io::split(client);
            let upload = async { while writes.write_all(&[1; 10_000]).await.is_ok() {} };
            let answer = async {
                server.read_exact(&mut [0; 1000]).await.unwrap();
                server.write_all(b"too large").await.unwrap();
                drop(server);
                let mut answer = [0; 9];
                reads.read_exact(&mut answer).await.unwrap();
                answer
            };
            tokio::join!(upload, answer).1
        })
        .await;
        assert!(matches!(end, Ending::Failed(Upstream, ..)), "{end:?}");
        assert_eq!(&answer, b"too large");
    }
}

#[tokio::test]
async fn a_reset_behind_a_fin_does_not_spoil_an_orderly_end() {
    for options in copied_and_spliced() {
        let heard = Rc::<Heard>::default();
        let (end, ()) = run(tcp().await, tcp().await, options, &heard, async |mut client, mut server| {
            server.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut client).await.unwrap(), b"");
            server.reset();
            drop(server);
            client.shutdown().await.unwrap();
        })
        .await;
        assert_eq!(end, Ending::Finished(Upstream));
    }
}

#[tokio::test]
async fn a_relay_can_be_stopped_by_dropping_it() {
    let (mut client, mut server) = (user_space(1000), user_space(100));
    let heard = Rc::<Heard>::default();
    let options = RelayOptions { pool: BufferPool::new(), ..RelayOptions::default() };
    let pool = options.pool.clone();
    {
        let mut relay =
            std::pin::pin!(relay(&mut client.near, &mut server.near, options, Rc::clone(&heard) as _));
        client.far.write_all(&[1; 500]).await.unwrap();
        server.far.shutdown().await.unwrap();
        tokio::select! { biased; end = &mut relay => panic!("{end:?}"), () = settle() => {} }
        assert!(relay.has_ended(Upstream) && !relay.has_ended(Downstream));
    }
    let [read, written, ..] = heard.bytes();
    assert!(read > written && written == 100, "{read} read, {written} written");
    assert_eq!(pool.kept() % 4096, 0);
    let (mut downstream, mut upstream) = (client.near, server.near);
    downstream.reset();
    upstream.reset();
    assert_eq!(read_what_comes(&mut server.far).await.1, Some(ConnectionReset));
    assert_eq!(read_what_comes(&mut client.far).await.1, Some(ConnectionReset));
}

/// Envoy logs no `UR` for an internal listener that has closed when the client's bytes come: the write fails first.
#[tokio::test]
async fn a_write_into_a_closed_user_space_socket_fails_as_a_write() {
    let heard = Rc::<Heard>::default();
    let play = async |mut client: BoxIo, server: BoxIo| {
        drop(server);
        client.write_all(b"late").await.unwrap();
        read_what_comes(&mut client).await
    };
    let (end, _) = run(user_space(100), user_space(100), RelayOptions::default(), &heard, play).await;
    assert_eq!(end, Ending::Failed(Upstream, Write, BrokenPipe));
}
