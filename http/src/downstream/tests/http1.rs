use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::tunnel::Tunnel;

/// Sends all of this, ends its side, and reads until the end.
async fn talk(mut client: UnixStream, text: &[u8]) -> String {
    client.write_all(text).await.unwrap();
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard).await;
    String::from_utf8(heard).unwrap()
}

async fn exchange(
    text: &'static [u8],
    answer: fn(RequestHead, Body) -> BoxFuture<'static, Response>,
) -> (String, Vec<String>) {
    with_client(|_| {}, answer, |client| talk(client, text)).await
}

#[tokio::test(flavor = "current_thread")]
async fn requests_follow_each_other_on_a_connection() {
    let text = b"POST /a HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi\
        POST /b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyou\r\n0\r\n\r\n\
        GET /c HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
    let (heard, notes) = exchange(text, echo).await;
    insta::assert_snapshot!(heard.replace('\r', ""), @"
    HTTP/1.1 200 OK
    transfer-encoding: chunked

    2
    hi
    0

    HTTP/1.1 200 OK
    transfer-encoding: chunked

    3
    you
    0

    HTTP/1.1 200 OK
    content-length: 0
    ");
    insta::assert_debug_snapshot!(notes, @r#"
    [
        "HTTP/1",
        "POST h /a",
        "answered",
        "POST h /b",
        "answered",
        "GET h /c",
        "answered",
    ]
    "#);
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_request_ends_the_connection() {
    let (heard, notes) = exchange(b"garbage\r\n\r\nGET / HTTP/1.1\r\nhost: h\r\n\r\n", echo).await;
    assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{heard}");
    assert_eq!(notes, ["HTTP/1", "http1.codec_error", "answered"]);
}

#[tokio::test(flavor = "current_thread")]
async fn broken_chunks_are_answered_while_there_is_no_answer() {
    let text = b"POST /a HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyou\r\nzz\r\n";
    let (heard, notes) = exchange(text, echo).await;
    assert!(heard.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{heard}");
    assert_eq!(notes, ["HTTP/1", "POST h /a", "http1.codec_error", "answered"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_leaves_ends_its_request() {
    let leave = |mut client: UnixStream| async move {
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    };
    let ((), notes) = with_client(|_| {}, silent, leave).await;
    assert_eq!(notes, ["HTTP/1", "GET h /", "Disconnected"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_may_wait_for_100_continue() {
    let client = |mut client: UnixStream| async move {
        let head = b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut go_on = [0; 25];
        client.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
        talk(client, b"hi").await
    };
    let (heard, _) = with_client(|_| {}, echo, client).await;
    assert!(heard.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{heard}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_before_its_request_is_complete_is_the_last_one() {
    fn refuse(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
        Box::pin(async { Response::new(Body::full("no")) })
    }
    let text = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nhi";
    let (heard, notes) = exchange(text, refuse).await;
    assert!(heard.ends_with("2\r\nno\r\n0\r\n\r\n"), "{heard}");
    assert_eq!(notes, ["HTTP/1", "POST h /", "answered"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_answer_that_is_shorter_than_it_said_is_cut_off() {
    fn liar(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
        Box::pin(async {
            let mut response = Response::new(Body::full("short"));
            response.headers_mut().insert("content-length", 10.into());
            response
        })
    }
    let (heard, notes) = exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", liar).await;
    assert!(heard.ends_with("short"), "{heard}");
    assert_eq!(notes, ["HTTP/1", "GET h /", "Local"]);
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_client_sends_behind_a_connect_is_its_tunnels() {
    fn tunnel(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
        let echo = |mut io: BoxIo| -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let mut heard = Vec::new();
                io.read_to_end(&mut heard).await.unwrap();
                io.write_all(&heard).await.unwrap();
            })
        };
        Box::pin(async move { Response::new(Body::tunnel(Tunnel::new(echo))) })
    }
    let client = |mut client: UnixStream| async move {
        client.write_all(b"CONNECT h:1 HTTP/1.1\r\n\r\nearly ").await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        talk(client, b"").await
    };
    let (heard, notes) = with_client(|_| {}, tunnel, client).await;
    assert_eq!(heard, "HTTP/1.1 200 OK\r\n\r\nearly GET / HTTP/1.1\r\n\r\n");
    assert_eq!(notes, ["HTTP/1", "CONNECT h:1 ", "answered"]);
}

#[tokio::test(flavor = "current_thread")]
async fn answers_without_a_length_end_with_an_http_1_0_connection() {
    fn stream(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
        Box::pin(async { Response::new(Body::full("all of it")) })
    }
    let text = b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
    let (heard, _) =
        with_client(|options| options.http1.accept_http_10 = true, stream, |client| talk(client, text)).await;
    assert_eq!(heard, "HTTP/1.0 200 OK\r\n\r\nall of it");
}
