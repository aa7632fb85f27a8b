//! HTTP/1: one request after the other on a connection.
//!
//! The codec owns the connection: it alone reads and writes. While a request is served it goes on reading, into the
//! request's body as long as that has room, and then for the client's end, which in Envoy ends the exchange.

mod answer;
pub(crate) mod body;
pub(crate) mod encode;
pub(crate) mod head;
mod incoming;

use std::{
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use http::{HeaderMap, Response, header};
use tokio::io::AsyncReadExt;
use underpass_core::io::{AbortWatch, BoxIo, Prefixed};

use self::{
    body::BodySender,
    encode::{RequestFacts, WriteBuffer},
    head::{HeadReader, ParsedHead},
    incoming::Incoming,
};
use super::{DownstreamReset, Exchange, Refusal, RequestHandler, ServerOptions};
use crate::{
    read_size::{READ_SIZES, next_read_size},
    tunnel::Tunnel,
};

/// How much of the next requests is read while one is served.
const READ_AHEAD: usize = 64 * 1024;

/// Serves a connection; `read` was read off it before.
pub(super) async fn serve<H: RequestHandler>(
    read: BytesMut,
    io: BoxIo,
    options: &ServerOptions,
    handler: &H,
) {
    let mut connection = Connection {
        io,
        read,
        read_size: READ_SIZES.0,
        write: WriteBuffer::default(),
        ended: false,
        unread: AbortWatch::default(),
        options,
        handler,
    };
    let mut heads = HeadReader::default();
    loop {
        match connection.serve_one(&mut heads).await {
            Next::Request => {}
            Next::End => return,
            Next::Close => return connection.linger().await,
            Next::Tunnel(exchange, tunnel) => return connection.tunnel(&exchange, tunnel).await,
        }
    }
}

/// What follows an exchange.
enum Next<E> {
    Request,
    End,
    /// Nothing more is read; what waits to be written is written.
    Close,
    Tunnel(Rc<E>, Tunnel),
}

struct Connection<'a, H> {
    io: BoxIo,
    read: BytesMut,
    /// How much is read at once: it follows the traffic.
    read_size: usize,
    write: WriteBuffer,
    /// The client has ended its side.
    ended: bool,
    /// Watches the client while what it sends is not read.
    unread: AbortWatch,
    options: &'a ServerOptions,
    handler: &'a H,
}

/// Why an exchange cannot go on.
enum Broken {
    /// The client is gone.
    Gone,
    /// What it sends is no HTTP.
    Framing,
    /// Its time is up; with what to answer.
    Expired(Option<Box<crate::Response>>),
}

impl<H: RequestHandler> Connection<'_, H> {
    async fn serve_one(&mut self, heads: &mut HeadReader) -> Next<H::Exchange> {
        if !self.first_byte().await {
            return Next::End;
        }
        let exchange = self.handler.begin();
        let parsed = match self.head(heads, &exchange).await {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(refusal)) => return self.refuse(&*exchange, refusal).await,
            Err(Broken::Expired(Some(answer))) => return self.answer_and_close(&*exchange, *answer).await,
            Err(_) => {
                exchange.reset(DownstreamReset::Disconnected);
                return Next::End;
            }
        };
        exchange.head_received(parsed.size);
        if !parsed.keep_alive {
            exchange.last_request();
        }
        self.exchange(&exchange, parsed).await
    }

    /// Waits for the first byte of a request.
    async fn first_byte(&mut self) -> bool {
        if self.read.is_empty() {
            // An idle connection keeps no buffer.
            self.read = BytesMut::new();
            self.read_size = READ_SIZES.0;
        }
        poll_fn(|cx| {
            loop {
                head::skip_empty_lines(&mut self.read);
                if !self.read.is_empty() {
                    return Poll::Ready(true);
                }
                match self.poll_read(cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return self.handler.poll_closing(cx).map(|_| false),
                }
            }
        })
        .await
    }

    /// Reads a head.
    async fn head(
        &mut self,
        heads: &mut HeadReader,
        exchange: &Rc<H::Exchange>,
    ) -> Result<Result<ParsedHead, Refusal>, Broken> {
        loop {
            match heads.read(&mut self.read, self.options) {
                Ok(Some(parsed)) => return Ok(Ok(parsed)),
                Ok(None) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
            poll_fn(|cx| {
                if let Poll::Ready(read) = self.poll_read(cx) {
                    return Poll::Ready(read.ok().filter(|n| *n > 0).map(drop).ok_or(Broken::Gone));
                }
                exchange.poll_expired(cx).map(|answer| Err(Broken::Expired(answer.map(Box::new))))
            })
            .await?;
        }
    }

    async fn exchange(&mut self, exchange: &Rc<H::Exchange>, parsed: ParsedHead) -> Next<H::Exchange> {
        let ParsedHead { mut head, framing, keep_alive, expects_continue, .. } = parsed;
        let facts = RequestFacts::new(&head.method, head.version);
        if expects_continue && !self.options.proxy_100_continue {
            head.headers.remove(header::EXPECT);
            self.write.put_continue();
            exchange.continued();
        }
        let (mut incoming, body) =
            self.take_body(exchange, framing, facts.is_connect || asks_for_upgrade(&head.headers));
        if incoming.complete {
            exchange.request_complete();
        }
        let answer = {
            let mut serving = pin!(exchange.serve(head, body));
            let mut asked = false;
            poll_fn(|cx| {
                if let Poll::Ready(answer) = serving.as_mut().poll(cx) {
                    return Poll::Ready(Ok(answer));
                }
                if !asked && let Some(bytes) = incoming.sender.as_ref().and_then(BodySender::take_unreported)
                {
                    // As in Envoy, the body comes after the head has been dealt with.
                    incoming.complete = true;
                    exchange.data_received(bytes);
                    exchange.request_complete();
                }
                asked = true;
                if let Poll::Ready(broken) = self.poll_incoming(cx, &mut incoming, &**exchange) {
                    return Poll::Ready(Err(broken));
                }
                match self.poll_flush(cx) {
                    Poll::Ready(Err(_)) => Poll::Ready(Err(Broken::Gone)),
                    _ => Poll::Pending,
                }
            })
            .await
        };
        let answer = match answer {
            Ok(answer) => {
                let taken =
                    |sender: &BodySender| incoming.decoder.remaining() == Some(0) && sender.was_reported();
                incoming.complete |= incoming.sender.as_ref().is_some_and(taken);
                answer
            }
            Err(Broken::Framing) => {
                incoming.fail();
                return self.refuse(&**exchange, Refusal::bad_request("http1.codec_error")).await;
            }
            Err(_) => {
                incoming.fail();
                exchange.reset(DownstreamReset::Disconnected);
                return Next::End;
            }
        };
        let (parts, body) = answer.into_parts();
        let head = Response::from_parts(parts, ());
        match body.into_tunnel() {
            Ok(tunnel) => {
                let (_, size) = self.write.put_head(&head, true, facts, self.options.http1.proper_case_words);
                exchange.head_sent(size);
                let flushed = poll_fn(|cx| match self.poll_flush(cx) {
                    Poll::Ready(outcome) => Poll::Ready(outcome.is_ok()),
                    Poll::Pending => exchange.poll_expired(cx).map(|_| false),
                });
                if !flushed.await {
                    exchange.reset(DownstreamReset::Disconnected);
                    return Next::End;
                }
                Next::Tunnel(Rc::clone(exchange), tunnel)
            }
            Err(body) => self.answer(exchange, head, body, facts, incoming, keep_alive).await,
        }
    }

    /// Hands the connection to a tunnel, with what the client has sent already.
    async fn tunnel(self, exchange: &Rc<H::Exchange>, tunnel: Tunnel) {
        let Self { io, read, .. } = self;
        let io: BoxIo = if read.is_empty() { io } else { Box::new(Prefixed::with_prefix(read, io)) };
        let mut running = tunnel.run(io);
        let expired = poll_fn(|cx| match running.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(false),
            Poll::Pending => exchange.poll_expired(cx).map(|_| true),
        });
        if expired.await {
            exchange.reset(DownstreamReset::Local);
        } else {
            exchange.response_complete();
        }
    }

    async fn refuse(&mut self, exchange: &H::Exchange, refusal: Refusal) -> Next<H::Exchange> {
        let answer = exchange.refuse(refusal);
        self.answer_and_close(exchange, answer).await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        let n = if self.read.is_empty() && self.io.lends_bytes() {
            let bytes = ready!(self.io.poll_read_bytes(cx, READ_AHEAD))
                .inspect_err(|_| self.handler.client_closed())?;
            self.read = BytesMut::from(bytes);
            self.read.len()
        } else {
            self.read.reserve(self.read_size);
            let room = self.read.capacity() - self.read.len();
            let read = ready!(pin!(self.io.read_buf(&mut self.read)).poll(cx));
            let n = read.inspect_err(|_| self.handler.client_closed())?;
            self.read_size = next_read_size(self.read_size, n, room, self.options.buffer_limit);
            n
        };
        if n == 0 {
            self.ended = true;
            self.handler.client_closed();
        }
        self.handler.transferred(n, 0);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let handler = self.handler;
        self.write.poll_flush(&mut self.io, cx, |n| handler.transferred(0, n))
    }
}

/// Whether what follows a request is not for HTTP.
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::UPGRADE) {
        return false;
    }
    let mut connection = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    connection.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}
