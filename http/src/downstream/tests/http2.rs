use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderValue, Method, Request, StatusCode};

use super::*;

type Heard = Result<(StatusCode, Vec<u8>, Option<HeaderMap>), h2::Error>;

/// Sends a request with a body and trailers, and returns what comes of it.
async fn ask(socket: UnixStream, request: Request<()>, body: &'static [u8]) -> Heard {
    let (mut client, connection) = client::handshake(socket).await?;
    let talk = async move {
        let (answer, mut stream) = client.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body), false)?;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-t", HeaderValue::from_static("1"));
            stream.send_trailers(trailers)?;
        }
        let (head, mut body) = answer.await?.into_parts();
        let mut data = Vec::new();
        while let Some(piece) = body.data().await {
            data.extend_from_slice(&piece?);
        }
        Ok((head.status, data, body.trailers().await?))
    };
    tokio::select! {
        biased;
        outcome = talk => outcome,
        ended = connection => Err(ended.err().unwrap_or_else(|| Reason::NO_ERROR.into())),
    }
}

fn post(path: &str) -> Request<()> {
    Request::builder().method(Method::POST).uri(format!("http://h{path}")).body(()).unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn bodies_and_trailers_pass_both_ways() {
    fn with_trailers(_: RequestHead, body: Body) -> BoxFuture<'static, Response> {
        Box::pin(async move { Response::new(body) })
    }
    let (heard, notes) = with_client(|_| {}, with_trailers, |socket| ask(socket, post("/a"), b"hello")).await;
    let (status, data, trailers) = heard.unwrap();
    assert_eq!((status, &data[..]), (StatusCode::OK, &b"hello"[..]));
    assert_eq!(trailers.unwrap()["x-t"], "1");
    assert_eq!(notes, ["HTTP/2", "POST h /a", "answered"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_leaves_ends_its_requests() {
    let leave = |socket: UnixStream| async move {
        tokio::time::timeout(std::time::Duration::from_millis(50), ask(socket, post("/"), b""))
            .await
            .unwrap_err();
    };
    let ((), notes) = with_client(|_| {}, silent, leave).await;
    assert_eq!(notes, ["HTTP/2", "POST h /", "Disconnected"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_stream_with_too_many_headers_is_reset() {
    let mut request = post("/");
    for n in 0..101 {
        let name = http::HeaderName::try_from(format!("a{n}")).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_static("b"));
    }
    let (heard, notes) = with_client(|_| {}, echo, |socket| ask(socket, request, b"")).await;
    assert_eq!(heard.unwrap_err().reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(notes, ["HTTP/2", "Refused(\"http2.too_many_headers\")"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_that_breaks_off_resets_its_stream() {
    fn broken(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
        struct Broken;
        impl http_body::Body for Broken {
            type Data = Bytes;
            type Error = crate::BodyError;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<http_body::Frame<Bytes>, crate::BodyError>>> {
                let reset = crate::reset::StreamReset::from(crate::reset::ResetReason::RemoteReset);
                Poll::Ready(Some(Err(reset.into())))
            }
        }
        Box::pin(async { Response::new(Body::boxed(Broken)) })
    }
    let (heard, notes) = with_client(|_| {}, broken, |socket| ask(socket, post("/"), b"")).await;
    assert!(heard.unwrap_err().is_reset());
    assert_eq!(notes, ["HTTP/2", "POST h /", "Local"]);
}
