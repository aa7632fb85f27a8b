//! The codecs with a handler that notes what it is told.

mod http1;
mod http2;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::net::UnixStream;
use underpass_core::{connection::BoxFuture, stats::Store};

use super::*;

/// Answers requests by a function, and notes what happens to them.
struct Toy {
    answer: fn(RequestHead, Body) -> BoxFuture<'static, Response>,
    notes: Rc<RefCell<Vec<String>>>,
}

struct ToyExchange {
    answer: fn(RequestHead, Body) -> BoxFuture<'static, Response>,
    notes: Rc<RefCell<Vec<String>>>,
}

impl ToyExchange {
    fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }
}

impl RequestHandler for Toy {
    type Exchange = ToyExchange;

    fn protocol(&self, http2: bool) {
        self.notes.borrow_mut().push(if http2 { "HTTP/2" } else { "HTTP/1" }.to_owned());
    }

    fn begin(&self) -> Rc<ToyExchange> {
        Rc::new(ToyExchange { answer: self.answer, notes: Rc::clone(&self.notes) })
    }

    fn poll_closing(&self, _: &mut Context<'_>) -> Poll<Closing> {
        Poll::Pending
    }

    fn protocol_error(&self) {
        self.notes.borrow_mut().push("protocol error".to_owned());
    }

    fn flooded(&self) -> bool {
        self.notes.borrow_mut().push("flooded".to_owned());
        true
    }

    fn client_closed(&self) {}

    fn delayed_close_expired(&self) {}
}

impl Exchange for ToyExchange {
    fn serve(&self, head: RequestHead, body: Body) -> BoxFuture<'_, Response> {
        self.note(format!("{} {} {}", head.method, head.authority(), head.path()));
        (self.answer)(head, body)
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        self.note(refusal.details);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = refusal.status;
        response
    }

    fn last_request(&self) {}

    fn continued(&self) {}

    fn head_received(&self, _: usize) {}

    fn data_received(&self, _: usize) {}

    fn request_complete(&self) {}

    fn head_sent(&self, _: usize) {}

    fn data_sent(&self, _: usize) {}

    fn trailers_sent(&self, _: &HeaderMap) {}

    fn response_complete(&self) {
        self.note("answered");
    }

    fn reset(&self, reason: DownstreamReset) {
        self.note(format!("{reason:?}"));
    }

    fn poll_expired(&self, _: &mut Context<'_>) -> Poll<Option<Response>> {
        Poll::Pending
    }
}

/// Serves a connection whose client does this; returns what it returns, and the notes.
async fn with_client<T, F: Future<Output = T>>(
    change: impl FnOnce(&mut ServerOptions),
    answer: fn(RequestHead, Body) -> BoxFuture<'static, Response>,
    client: impl FnOnce(UnixStream) -> F,
) -> (T, Vec<String>) {
    let (near, far) = UnixStream::pair().unwrap();
    let mut options = ServerOptions::new(CodecStats::new(&Store::new(1).scope("")));
    change(&mut options);
    let notes = Rc::default();
    let toy = Toy { answer, notes: Rc::clone(&notes) };
    let served = serve(Box::new(far), &options, &toy);
    let (result, ()) = tokio::join!(client(near), served);
    drop(toy);
    (result, Rc::into_inner(notes).unwrap().into_inner())
}

/// An answer with what was sent.
fn echo(_: RequestHead, body: Body) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        let body = body.collect().await.unwrap().to_bytes();
        Response::new(Body::full(body))
    })
}

/// No answer at all.
fn silent(_: RequestHead, _: Body) -> BoxFuture<'static, Response> {
    Box::pin(std::future::pending())
}

fn size_of_connection<F: Future>(_: fn(BytesMut, BoxIo, &'static ServerOptions, &'static Toy) -> F) -> usize {
    size_of::<F>()
}

type ServeStream<F> = fn(
    Rc<ToyExchange>,
    http::Request<h2::RecvStream>,
    h2::server::SendResponse<Bytes>,
    &'static ServerOptions,
    &'static Cell<Option<DownstreamReset>>,
) -> F;

fn size_of_stream<F: Future>(_: ServeStream<F>) -> usize {
    size_of::<F>()
}

#[test]
fn connections_and_streams_take_little_memory_of_their_own() {
    // Grow them knowingly: each is there as long as its connection or stream is.
    let sizes = [
        ("HTTP/1 connection", size_of_connection(super::http1::serve::<Toy>), 2100),
        ("HTTP/2 connection", size_of_connection(super::http2::serve::<Toy>), 2900),
        ("HTTP/2 stream", size_of_stream(super::http2::stream::serve_stream::<ToyExchange>), 1850),
    ];
    for (what, size, limit) in sizes {
        assert!(size <= limit, "the future of an {what} takes {size} bytes");
    }
}
