//! The client side of HTTP/1.1: one request at a time on a connection, driven by whoever made it.

mod answer;
mod idle;
mod request;

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use http::{HeaderMap, StatusCode, Version, header};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use underpass_core::io::{BoxIo, Prefixed};

use self::request::RequestBody;
pub(crate) use self::{answer::Http1Answer, idle::Idle};
use super::{
    accounting::{ConnectionState, StreamHold},
    metered::Metered,
    stream::{Established, Trailers},
};
use crate::{
    Body, RequestHead, Response,
    protocol_options::ClusterProtocolOptions,
    reset::{ResetReason, StreamReset},
};

/// One HTTP/1 connection.
pub(super) struct Http1Client {
    sender: SendRequest<RequestBody>,
    driver: Connection<TokioIo<Metered>, RequestBody>,
    /// Set when the driver is done; it must not be polled any more then.
    done: bool,
    used_up: Cell<bool>,
    pub(super) connection: Rc<ConnectionState>,
}

impl Http1Client {
    pub(super) async fn new(
        io: Metered,
        connection: Rc<ConnectionState>,
        settings: &ClusterProtocolOptions,
    ) -> hyper::Result<Box<Self>> {
        let (sender, driver) = Builder::new()
            .max_headers(settings.common.max_headers_count)
            .max_header_size(settings.common.max_response_headers_bytes)
            .title_case_headers(settings.http1.proper_case_words)
            .handshake(TokioIo::new(io))
            .await?;
        Ok(Box::new(Self { sender, driver, done: false, used_up: Cell::new(false), connection }))
    }

    /// Drives the connection. Ready once it is of no more use, in order or not.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        if let Poll::Ready(result) = self.driver.poll_without_shutdown(cx) {
            self.done = true;
            if let Err(error) = result {
                self.note_error(&error);
            }
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn note_error(&self, error: &hyper::Error) {
        if error.is_parse() {
            self.connection.cluster.stats.upstream_cx_protocol_error.inc();
        }
    }

    /// Whether the next request can be sent now.
    fn is_ready(&self) -> bool {
        !self.done && self.sender.is_ready()
    }

    /// It takes no more requests after this one.
    pub(super) fn use_up(&self) {
        self.used_up.set(true);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used_up.get()
    }

    /// The connection's bytes, with those first that were read beyond the head of the answer.
    fn into_io(self) -> BoxIo {
        let parts = self.driver.into_parts();
        let io: BoxIo = Box::new(parts.io.into_inner());
        Prefixed::with_prefix(parts.read_buf.into(), io).into_io()
    }
}

/// Gives a connection back to its pool when its request is done, if it can be used again.
fn finish(mut client: Box<Http1Client>, hold: StreamHold) {
    // What is left to do after the last byte makes the connection ready, or closes it.
    let _ = client.poll_driver(&mut Context::from_waker(std::task::Waker::noop()));
    let reusable = client.is_ready() && !client.is_used_up();
    let pool = client.connection.pool();
    drop(hold);
    if let Some(pool) = pool.filter(|_| reusable) {
        pool.release(client);
    }
}

/// An answer's head, and the connection that goes on behind it.
struct Answered {
    client: Box<Http1Client>,
    hold: StreamHold,
    response: http::Response<Incoming>,
    request_done: bool,
}

/// Sends a request and waits for the head of the answer.
async fn exchange(
    mut client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
    body: Body,
) -> Result<Answered, StreamReset> {
    let (request, sent) = request::encode(head, body)?;
    let mut answer = pin!(client.sender.send_request(request));
    let response = poll_fn(|cx| {
        let driven = {
            let client = &mut *client;
            poll_parts(&mut client.driver, &mut client.done, cx)
        };
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer.map_err(|error| (error, driven))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match response {
        Ok(response) => {
            if says_close(&response) {
                client.connection.cluster.stats.upstream_cx_close_notify.inc();
                client.use_up();
            }
            Ok(Answered { client, hold, response, request_done: sent.is_none_or(|sent| sent.get()) })
        }
        Err((error, _)) => Err(client.fail(&error)),
    }
}

fn poll_parts(
    driver: &mut Connection<TokioIo<Metered>, RequestBody>,
    done: &mut bool,
    cx: &mut Context<'_>,
) -> Option<hyper::Error> {
    if *done {
        return None;
    }
    match driver.poll_without_shutdown(cx) {
        Poll::Ready(result) => {
            *done = true;
            result.err()
        }
        Poll::Pending => None,
    }
}

impl Http1Client {
    /// What an error means for the request.
    fn fail(&self, error: &hyper::Error) -> StreamReset {
        let reason = if error.is_parse() {
            self.note_error(error);
            ResetReason::ProtocolError
        } else if error.is_user() {
            // The request's body broke off.
            ResetReason::LocalReset
        } else {
            ResetReason::ConnectionTermination
        };
        self.connection.ended_with_request(reason)
    }
}

/// Whether an answer says that the connection ends after it (RFC 9112, 9.3).
fn says_close<B>(response: &http::Response<B>) -> bool {
    let has = |token: &str| {
        let values = response.headers().get_all(header::CONNECTION).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    match response.version() {
        Version::HTTP_10 => !has("keep-alive"),
        _ => has("close"),
    }
}

/// Sends a request and waits for the head of the answer.
pub(super) async fn send(
    client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
    body: Body,
) -> Result<Response, StreamReset> {
    let Answered { client, hold, response, request_done } = exchange(client, hold, head, body).await?;
    Ok(with_body(client, hold, response, request_done))
}

fn with_body(
    client: Box<Http1Client>,
    hold: StreamHold,
    response: http::Response<Incoming>,
    request_done: bool,
) -> Response {
    if request_done && http_body::Body::is_end_stream(response.body()) {
        finish(client, hold);
        return response.map(|_| Body::empty());
    }
    response.map(|body| Body::http1_answer(Http1Answer::new(client, hold, body, request_done)))
}

/// Sends a request for a tunnel and waits for the head of the answer.
pub(super) async fn tunnel(
    client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
) -> Result<Established, StreamReset> {
    let connects = head.is_connect();
    let Answered { mut client, hold, mut response, request_done } =
        exchange(client, hold, head, Body::empty()).await?;
    let status = response.status();
    let accepted = if connects { status.is_success() } else { status == StatusCode::SWITCHING_PROTOCOLS };
    if connects {
        // It ends with the tunnel, or with the refusal: the request itself has no end.
        client.use_up();
        client.connection.note_ended_with_request();
    }
    if !accepted {
        let response = with_body(client, hold, response, request_done);
        return Ok(Established { response, io: None, ended: false, trailers: Trailers::default() });
    }
    // hyper is done with the connection at once; whatever it says, the bytes are ours.
    poll_fn(|cx| {
        let _ = client.poll_driver(cx);
        Poll::Ready(())
    })
    .await;
    if connects {
        // Of no meaning in a 2xx to a CONNECT (RFC 9110, 9.3.6).
        remove_framing(response.headers_mut());
    }
    client.use_up();
    let io = Box::new(super::metered::Held::new(client.into_io(), hold));
    Ok(Established {
        response: response.map(|_| Body::empty()),
        io: Some(io),
        ended: false,
        trailers: Trailers::default(),
    })
}

fn remove_framing(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRANSFER_ENCODING);
}
