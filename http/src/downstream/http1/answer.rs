//! Sends answers, and ends connections after the last one.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
};

use http::{HeaderMap, Response, Version, header};
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use super::{
    Broken, Connection, Incoming, Next,
    encode::{BodyFraming, RequestFacts},
};
use crate::{
    Body,
    downstream::{DownstreamReset, Exchange, RequestHandler},
};

impl<H: RequestHandler> Connection<'_, H> {
    pub(super) async fn answer(
        &mut self,
        exchange: &Rc<H::Exchange>,
        head: Response<()>,
        body: Body,
        facts: RequestFacts,
        mut incoming: Incoming,
        keep_alive: bool,
    ) -> Next<H::Exchange> {
        let format = self.options.http1.proper_case_words;
        let (mut framing, size) = self.write.put_head(&head, !body.is_end_stream(), facts, format);
        exchange.head_sent(size);
        let mut close = !keep_alive || framing == BodyFraming::UntilClose || closes(head.headers());
        let until_close = framing == BodyFraming::UntilClose;
        let sends_trailers = self.options.http1.enable_trailers && facts.version != Version::HTTP_10;
        let mut body = pin!(body);
        let mut done = false;
        let sent = poll_fn(|cx| {
            loop {
                let mut starved = false;
                while !done && !self.write.has_enough() {
                    let frame = match body.as_mut().poll_frame(cx) {
                        Poll::Pending => {
                            starved = true;
                            break;
                        }
                        Poll::Ready(None) => None,
                        Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(Broken::Expired(None))),
                        Poll::Ready(Some(Ok(frame))) => Some(frame),
                    };
                    let as_promised = match frame.map(Frame::into_data) {
                        Some(Ok(data)) => {
                            if framing != BodyFraming::None {
                                exchange.data_sent(data.len());
                            }
                            self.write.put_data(data, &mut framing)
                        }
                        end => {
                            let trailers = end.and_then(|end| end.err()?.into_trailers().ok());
                            if let Some(trailers) = &trailers {
                                exchange.trailers_sent(trailers);
                            }
                            done = true;
                            let trailers = trailers.as_ref().filter(|_| sends_trailers);
                            let as_promised = self.write.put_end(trailers, framing, format);
                            if as_promised {
                                exchange.response_complete();
                            }
                            as_promised
                        }
                    };
                    if !as_promised {
                        return Poll::Ready(Err(Broken::Expired(None)));
                    }
                }
                match self.poll_flush(cx) {
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Gone)),
                    Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(())) if !starved => {}
                    _ => break,
                }
            }
            if let Poll::Ready(broken) = self.poll_incoming(cx, &mut incoming, &**exchange) {
                return Poll::Ready(Err(broken));
            }
            exchange.poll_expired(cx).map(|_| Err(Broken::Expired(None)))
        })
        .await;
        if let Err(broken) = sent {
            incoming.fail();
            exchange.reset(match broken {
                Broken::Gone => DownstreamReset::Disconnected,
                Broken::Framing => DownstreamReset::ProtocolError("http1.codec_error"),
                Broken::Expired(_) => DownstreamReset::Local,
            });
            if let Broken::Expired(_) = broken {
                self.abort(until_close).await;
            }
            return Next::End;
        }
        close |= !incoming.complete || self.ended;
        if close { Next::Close } else { Next::Request }
    }

    /// Ends the connection in the middle of an answer, so that the client sees that it is not whole.
    async fn abort(&mut self, until_close: bool) {
        let limit = self.options.delayed_close_timeout.unwrap_or_default();
        let _ = tokio::time::timeout(limit, poll_fn(|cx| self.poll_flush(cx))).await;
        if until_close {
            self.io.reset();
        }
    }

    /// Sends an answer of this proxy's own, and ends the connection.
    pub(super) async fn answer_and_close(
        &mut self,
        exchange: &H::Exchange,
        answer: crate::Response,
    ) -> Next<H::Exchange> {
        let (parts, body) = answer.into_parts();
        let head = Response::from_parts(parts, ());
        let facts = RequestFacts { is_head: false, is_connect: false, version: Version::HTTP_11 };
        let format = self.options.http1.proper_case_words;
        let (mut framing, size) = self.write.put_head(&head, !body.is_end_stream(), facts, format);
        exchange.head_sent(size);
        let mut body = pin!(body);
        // A body of this proxy's own is there at once.
        let data = poll_fn(|cx| Poll::Ready(body.as_mut().poll_frame(cx))).await;
        if let Poll::Ready(Some(Ok(frame))) = data
            && let Ok(data) = frame.into_data()
        {
            exchange.data_sent(data.len());
            self.write.put_data(data, &mut framing);
        }
        exchange.response_complete();
        Next::Close
    }

    /// Writes what waits, ends this side, and gives the client some time to end its own: a connection that is closed with
    /// unread bytes is reset, and the reset may overtake the answer.
    pub(super) async fn linger(&mut self) {
        let Some(limit) = self.options.delayed_close_timeout else {
            let _ = poll_fn(|cx| self.poll_flush(cx)).await;
            return;
        };
        let mut time = pin!(tokio::time::sleep(limit));
        let mut flushed = false;
        poll_fn(|cx| {
            if !flushed {
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return time.as_mut().poll(cx),
                }
                flushed = true;
            }
            if let Poll::Ready(Err(_)) = Pin::new(&mut self.io).poll_shutdown(cx) {
                return Poll::Ready(());
            }
            loop {
                self.read.clear();
                match self.poll_read(cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            let expired = time.as_mut().poll(cx);
            if expired.is_ready() {
                self.handler.delayed_close_expired();
            }
            expired
        })
        .await;
    }
}

/// Whether an answer says that it is the last one.
fn closes(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}
