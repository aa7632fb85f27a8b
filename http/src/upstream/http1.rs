//! The client side of HTTP/1.1: one request at a time on a connection, driven by whoever made it.
//!
//! The codec is our own, on the same blocks as that of the downstream side: hyper's client needs a task or channels between
//! whoever waits and the connection, keeps some 20 KiB for a connection that is idle, and chooses where an answer contradicts
//! itself. There is no task for a connection that carries a request: whoever waits for the answer reads and writes. While it
//! carries none, its pool watches it.

mod answer;
mod idle;
mod request;
mod response;

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{StatusCode, header};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use underpass_core::io::{BoxIo, Prefixed};

pub(crate) use self::{answer::Http1Answer, idle::Idle};
use self::{
    request::Request,
    response::{HeadReader, Length, ResponseHead},
};
use super::{
    accounting::{ConnectionState, StreamHold},
    metered::{Held, Metered},
    stream::{Established, InterimAnswers, Trailers},
};
use crate::{
    Body, RequestHead, Response,
    downstream::http1::encode::WriteBuffer,
    protocol_options::ClusterProtocolOptions,
    read_size::{READ_SIZES, next_read_size},
    reset::{ResetReason, StreamReset},
};

/// One HTTP/1 connection.
pub(super) struct Http1Client {
    io: BoxIo,
    read: BytesMut,
    heads: HeadReader,
    /// How much is read at once: it follows the traffic.
    read_size: usize,
    write: WriteBuffer,
    /// The peer has ended its side, or the connection is broken.
    ended: bool,
    /// Nothing can be written any more. What the peer said before it closed may still be read.
    unwritable: bool,
    used_up: Cell<bool>,
    /// The request that is being sent; none once it is complete.
    request: Option<Request>,
    /// What came before the answer to the present request.
    interim: InterimAnswers,
    settings: Arc<ClusterProtocolOptions>,
    pub(super) connection: Rc<ConnectionState>,
}

/// Why an exchange cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// The connection ended.
    Closed,
    /// What the peer sends is no HTTP.
    Protocol,
    /// The body of the request broke off.
    Request,
}

impl Http1Client {
    pub(super) fn new(
        io: BoxIo,
        connection: Rc<ConnectionState>,
        settings: &Arc<ClusterProtocolOptions>,
    ) -> Box<Self> {
        Box::new(Self {
            io,
            read: BytesMut::new(),
            heads: HeadReader::default(),
            read_size: READ_SIZES.0,
            write: WriteBuffer::default(),
            ended: false,
            unwritable: false,
            used_up: Cell::new(false),
            request: None,
            interim: InterimAnswers::default(),
            settings: Arc::clone(settings),
            connection,
        })
    }

    /// It takes no more requests after this one.
    pub(super) fn use_up(&self) {
        self.used_up.set(true);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.used_up.get()
    }

    /// Sends what is there of the request. Pending while there is more to come.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let mut starved = false;
            while let Some(request) = &mut self.request
                && !self.write.has_enough()
            {
                match request.poll_piece(cx, &mut self.write, &self.settings.http1) {
                    Poll::Pending => {
                        starved = true;
                        break;
                    }
                    Poll::Ready(Ok(true)) => self.request = None,
                    Poll::Ready(Ok(false)) => {}
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                }
            }
            if self.unwritable {
                self.request = None;
                return Poll::Ready(Ok(()));
            }
            let connection = &self.connection;
            match self.write.poll_flush(&mut self.io, cx, |n| connection.note_sent(n)) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if self.request.is_none() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if starved => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.unwritable = true,
            }
        }
    }

    /// Whether the request was sent completely.
    fn is_sent(&self) -> bool {
        self.request.is_none() && self.write.is_empty() && !self.unwritable
    }

    /// Reads on. Zero is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.ended {
            return Poll::Ready(0);
        }
        if self.read.is_empty() && self.io.lends_bytes() {
            let read = ready!(self.io.poll_read_bytes(cx, READ_SIZES.1));
            let n = self.note_read(&read.as_ref().map(Bytes::len).map_err(|error| error.kind().into()));
            self.read = read.map(BytesMut::from).unwrap_or_default();
            return Poll::Ready(n);
        }
        self.read.reserve(self.read_size);
        let room = self.read.capacity() - self.read.len();
        let read = ready!(pin!(self.io.read_buf(&mut self.read)).poll(cx));
        if let Ok(n) = read {
            self.read_size = next_read_size(self.read_size, n, room, READ_SIZES.1);
        }
        Poll::Ready(self.note_read(&read))
    }

    fn note_read(&mut self, read: &io::Result<usize>) -> usize {
        match read {
            Ok(n) if *n > 0 => {
                self.connection.note_received(*n);
                *n
            }
            _ => {
                self.ended = true;
                self.connection.note_remote_close();
                0
            }
        }
    }

    /// While there is no request: ready once the connection is of no more use. It keeps no memory for it.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 64];
        let mut space = ReadBuf::new(&mut space);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut space));
        self.note_read(&read.map(|()| space.filled().len()));
        self.note_unsolicited(space.filled());
        Poll::Ready(())
    }

    /// Bytes that nobody asked for. An upstream that says by a 408 why it closes breaks no rule (RFC 9110, 15.5.9).
    fn note_unsolicited(&self, bytes: &[u8]) {
        let timed_out = bytes.starts_with(b"HTTP/1.1 408") || bytes.starts_with(b"HTTP/1.0 408");
        if !bytes.is_empty() && !timed_out {
            self.connection.note_protocol_error();
        }
    }

    /// Waits for the head of the answer; those before the last one are skipped (RFC 9110, 15.2).
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: RequestFacts,
    ) -> Poll<Result<ResponseHead, Broken>> {
        loop {
            if !self.read.is_empty() {
                match self.heads.read(&mut self.read, method, &self.settings) {
                    Ok(Some(head)) if is_interim(head.response.status()) => {
                        self.interim.note(head.response.status());
                        // What follows may be in the buffer already.
                        continue;
                    }
                    Ok(Some(mut head)) => {
                        std::mem::take(&mut self.interim).put_into(&mut head.response);
                        return Poll::Ready(Ok(head));
                    }
                    Ok(None) => {}
                    Err(()) => return Poll::Ready(Err(Broken::Protocol)),
                }
            }
            if ready!(self.poll_read(cx)) == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
        }
    }

    /// The connection's bytes, with those first that were read beyond the head of the answer.
    fn into_io(self) -> BoxIo {
        let metered = Box::new(Metered::new(self.io, self.connection));
        Prefixed::with_prefix(self.read, metered).into_io()
    }
}

/// What of a request matters for its answer.
#[derive(Debug, Clone, Copy)]
struct RequestFacts {
    is_head: bool,
    is_connect: bool,
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Gives a connection back to its pool when its answer is complete, if it can be used again.
fn finish(mut client: Box<Http1Client>, hold: StreamHold) {
    if client.is_sent() {
        hold.complete();
    }
    drop(hold);
    if !client.is_sent() {
        return;
    }
    client.note_unsolicited(&client.read);
    if client.ended || client.is_used_up() || !client.read.is_empty() {
        return;
    }
    // A connection that waits keeps no buffer.
    client.read = BytesMut::new();
    client.read_size = READ_SIZES.0;
    if let Some(pool) = client.connection.pool() {
        pool.release(client);
    }
}

/// An answer's head, and the connection that goes on behind it.
struct Answered {
    client: Box<Http1Client>,
    hold: StreamHold,
    response: http::Response<()>,
    length: Length,
}

/// A request whose head waits to be written.
pub(super) struct Begun {
    client: Box<Http1Client>,
    hold: StreamHold,
    facts: RequestFacts,
}

/// Writes the head of a request into the connection's buffer.
pub(super) fn begin(
    mut client: Box<Http1Client>,
    hold: StreamHold,
    head: &RequestHead,
    body: Body,
) -> Result<Begun, StreamReset> {
    let facts = RequestFacts { is_head: head.method == http::Method::HEAD, is_connect: head.is_connect() };
    let framing = request::put_head(&mut client.write, head, !body.is_end_stream(), &client.settings.http1)?;
    client.request = framing.map(|framing| Request::new(body, framing));
    Ok(Begun { client, hold, facts })
}

/// Sends a request and waits for the head of the answer.
async fn exchange(Begun { mut client, hold, facts }: Begun) -> Result<Answered, StreamReset> {
    let outcome = poll_fn(|cx| {
        if let Poll::Ready(Err(broken)) = client.poll_send(cx) {
            return Poll::Ready(Err(broken));
        }
        client.poll_head(cx, facts)
    })
    .await;
    let ResponseHead { response, length, keep_alive } =
        outcome.map_err(|broken| fail(&client, &hold, broken))?;
    if !keep_alive {
        client.connection.cluster.stats.upstream_cx_close_notify.inc();
        client.use_up();
    }
    Ok(Answered { client, hold, response, length })
}

/// What a broken exchange means for the request.
fn fail(client: &Http1Client, hold: &StreamHold, broken: Broken) -> StreamReset {
    let connection = &client.connection;
    match broken {
        Broken::Request => connection.ended_with_request(ResetReason::LocalReset),
        Broken::Closed if hold.received() == 0 => {
            connection.ended_with_request(ResetReason::ConnectionTermination)
        }
        // As in Envoy, an end in the middle of an answer is as wrong as an answer that cannot be read.
        Broken::Closed | Broken::Protocol => {
            connection.note_protocol_error();
            connection.ended_with_request(ResetReason::ProtocolError)
        }
    }
}

/// Sends a request and waits for the head of the answer.
pub(super) async fn send(begun: Begun) -> Result<Response, StreamReset> {
    Ok(with_body(exchange(begun).await?))
}

fn with_body(answered: Answered) -> Response {
    let Answered { client, hold, response, length } = answered;
    if length == Length::None {
        finish(client, hold);
        return response.map(|()| Body::empty());
    }
    response.map(|()| Body::http1_answer(Http1Answer::new(client, hold, length)))
}

/// Sends a request for a tunnel and waits for the head of the answer.
pub(super) async fn tunnel(
    client: Box<Http1Client>,
    hold: StreamHold,
    head: RequestHead,
) -> Result<Established, StreamReset> {
    let connects = head.is_connect();
    if connects {
        client.connection.note_tunnel();
    }
    let answered = exchange(begin(client, hold, &head, Body::empty())?).await?;
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
    let Answered { client, hold, mut response, .. } = answered;
    if connects {
        // Of no meaning in a 2xx to a CONNECT (RFC 9110, 9.3.6).
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
    }
    let io = Box::new(Held::new(client.into_io(), hold));
    Ok(Established {
        response: response.map(|()| Body::empty()),
        io: Some(io),
        ended: false,
        trailers: Trailers::default(),
    })
}
