//! The client side of HTTP/1.1: one request at a time on a connection, driven by whoever made it.

mod answer;
mod framing;
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

use self::request::{RequestBody, Sent};
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
    allow_chunked_length: bool,
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
        Ok(Box::new(Self {
            sender,
            driver,
            done: false,
            used_up: Cell::new(false),
            allow_chunked_length: settings.http1.allow_chunked_length,
            connection,
        }))
    }

    /// Drives the connection. Ready once it is of no more use, in order or not.
    fn poll_driver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done {
            return Poll::Ready(());
        }
        if let Poll::Ready(result) = self.driver.poll_without_shutdown(cx) {
            self.done = true;
            if let Err(error) = result
                && !error.is_parse()
                && !error.is_incomplete_message()
                && std::error::Error::source(&error).is_none()
            {
                // No error of the socket, nor of the answer: one that nobody asked for.
                self.connection.note_protocol_error();
            }
            return Poll::Ready(());
        }
        Poll::Pending
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

/// Gives a connection back to its pool when its answer is complete, if it can be used again.
fn finish(mut client: Box<Http1Client>, hold: StreamHold, sent: &Sent) {
    let sent = sent.as_ref().is_none_or(|sent| sent.get());
    if sent {
        hold.complete();
    }
    drop(hold);
    // What is left to do after the last byte makes the connection ready, or closes it.
    let _ = client.poll_driver(&mut Context::from_waker(std::task::Waker::noop()));
    let reusable = sent && client.is_ready() && !client.is_used_up();
    let pool = client.connection.pool();
    if let Some(pool) = pool.filter(|_| reusable) {
        pool.release(client);
    }
}

/// An answer's head, and the connection that goes on behind it.
struct Answered {
    client: Box<Http1Client>,
    hold: StreamHold,
    response: http::Response<Incoming>,
    sent: Sent,
}

/// Sends a request and waits for the head of the answer.
async fn exchange(
    mut client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
    body: Body,
) -> Result<Answered, StreamReset> {
    let connects = head.is_connect();
    let (request, sent) = request::encode(head, body)?;
    let mut answer = pin!(client.sender.send_request(request));
    let response = poll_fn(|cx| {
        // An error is told by the answer, too.
        let _ = client.poll_driver(cx);
        answer.as_mut().poll(cx)
    })
    .await;
    let response = response.map_err(|error| fail(&client, &hold, &error))?;
    if framing::is_contradictory(&response, connects, client.allow_chunked_length) {
        return Err(protocol_error(&client));
    }
    if says_close(&response) {
        client.connection.cluster.stats.upstream_cx_close_notify.inc();
        client.use_up();
    }
    Ok(Answered { client, hold, response, sent })
}

/// What an error means for the request.
fn fail(client: &Http1Client, hold: &StreamHold, error: &hyper::Error) -> StreamReset {
    let connection = &client.connection;
    // The request's body broke off, or it cannot be written.
    if error.is_user() {
        return connection.ended_with_request(ResetReason::LocalReset);
    }
    // As in Envoy, an end in the middle of an answer is as wrong as an answer that cannot be read.
    if error.is_parse() || hold.received() > 0 {
        return protocol_error(client);
    }
    connection.ended_with_request(ResetReason::ConnectionTermination)
}

fn protocol_error(client: &Http1Client) -> StreamReset {
    client.connection.note_protocol_error();
    client.connection.ended_with_request(ResetReason::ProtocolError)
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
    Ok(with_body(exchange(client, hold, head, body).await?))
}

fn with_body(answered: Answered) -> Response {
    let Answered { client, hold, response, sent } = answered;
    if http_body::Body::is_end_stream(response.body()) {
        finish(client, hold, &sent);
        return response.map(|_| Body::empty());
    }
    response.map(|body| Body::http1_answer(Http1Answer::new(client, hold, body, sent)))
}

/// Sends a request for a tunnel and waits for the head of the answer.
pub(super) async fn tunnel(
    client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
) -> Result<Established, StreamReset> {
    let connects = head.is_connect();
    let answered = exchange(client, hold, head, Body::empty()).await?;
    let status = answered.response.status();
    let accepted = if connects { status.is_success() } else { status == StatusCode::SWITCHING_PROTOCOLS };
    if connects {
        // It ends with the tunnel, or with the refusal: the request itself has no end.
        answered.client.use_up();
        answered.client.connection.note_ended_with_request();
    }
    if !accepted {
        let response = with_body(answered);
        return Ok(Established { response, io: None, ended: false, trailers: Trailers::default() });
    }
    let Answered { mut client, hold, mut response, .. } = answered;
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
