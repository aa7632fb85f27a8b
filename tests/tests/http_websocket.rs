//! The `WebSocket` protocol through a connection manager and through tunnels, with a real client and a real server (tungstenite).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_async, client_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};
use underpass_tests::tunnel::{Options, Tunnel, Way, accepts_websocket};

/// A server that sends back each message.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    // The client may be gone.
                    if message.is_text() || message.is_binary() {
                        let _ = socket.send(message).await;
                    }
                }
            });
        }
    });
    address
}

async fn tunnel(way: Way, options: Options) -> Tunnel {
    let origin = server().await;
    tokio::task::spawn_blocking(move || Tunnel::start_with(way, origin.port(), &options)).await.unwrap()
}

fn with_websockets() -> Options {
    Options { entry: accepts_websocket(), decap: accepts_websocket(), ..Options::default() }
}

async fn open(entry: SocketAddr) -> Result<WebSocketStream<TcpStream>, Error> {
    let stream = TcpStream::connect(entry).await.unwrap();
    client_async("ws://test.example/chat", stream).await.map(|(socket, _)| socket)
}

#[tokio::test]
async fn messages_go_both_ways_and_the_end_has_a_reason() {
    for way in Way::ALL {
        let tunnel = tunnel(way, with_websockets()).await;
        let mut socket = open(tunnel.entry()).await.unwrap();
        for size in [1, 1000, 100_000, 3_000_000] {
            let message = Message::binary(vec![7; size]);
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message, "{way:?} {size}");
        }
        let goodbye = CloseFrame { code: 4000.into(), reason: "enough".into() };
        socket.close(Some(goodbye.clone())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(goodbye)), "{way:?}");
        drop(socket);
        tokio::task::spawn_blocking(move || tunnel.wait_quiet()).await.unwrap();
    }
}

#[tokio::test]
async fn many_sockets_of_one_tunnel_do_not_disturb_each_other() {
    let tunnel = tunnel(Way::Http2Connect, with_websockets()).await;
    let entry = tunnel.entry();
    let talks = (0..50).map(|number| async move {
        let mut socket = open(entry).await.unwrap();
        for turn in 0..20 {
            let message = Message::text(format!("{number} {turn}"));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
    });
    futures_util::future::join_all(talks).await;
    tokio::task::spawn_blocking(move || tunnel.wait_quiet()).await.unwrap();
}

#[tokio::test]
async fn without_configuration_an_upgrade_is_refused() {
    let tunnel = tunnel(Way::Direct, Options { entry: json!({}), ..Options::default() }).await;
    let Err(Error::Http(response)) = open(tunnel.entry()).await else { panic!("no upgrade is configured") };
    assert_eq!(response.status(), 403);
}
