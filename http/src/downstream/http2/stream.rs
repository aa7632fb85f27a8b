//! One stream of an HTTP/2 connection: its request, its answer.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, ext::Protocol, server::SendResponse};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
    uri::{PathAndQuery, Scheme},
};
use http_body::{Body as _, Frame};

use super::body::StreamBody;
use crate::{
    Body, RequestHead,
    downstream::{DownstreamReset, Exchange, ServerOptions},
    h2_stream_io::H2StreamIo,
    protocol_options::HeadersWithUnderscoresAction,
    tunnel::Tunnel,
};

/// Why a head is refused.
const TOO_MANY_HEADERS: &str = "http2.too_many_headers";
const UNEXPECTED_UNDERSCORE: &str = "http2.unexpected_underscore";
const INVALID_HEADER_FIELD: &str = "http2.invalid.header.field";

/// An answer, or how the client left before there was one.
type Answer = Result<crate::Response, DownstreamReset>;

/// Serves one stream.
pub(in crate::downstream) async fn serve_stream<E: Exchange + 'static>(
    exchange: Rc<E>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    options: &ServerOptions,
    ending: &Cell<Option<DownstreamReset>>,
) {
    let stats = &options.stats.http2;
    let _active = stats.streams_active.hold();
    let mut guard = Guard { exchange: &exchange, ending, finished: false };
    let (parts, stream) = request.into_parts();
    let ended = stream.is_end_stream();
    let is_connect = parts.method == Method::CONNECT;
    let is_head = parts.method == Method::HEAD;
    let (head, extended) = match read_head(parts, &exchange, options) {
        Ok(read) => read,
        Err(details) => {
            guard.finished = true;
            stats.tx_reset.inc();
            respond.send_reset(Reason::INTERNAL_ERROR);
            return exchange.reset(DownstreamReset::Refused(details));
        }
    };
    let is_tunnel = is_connect;
    let mut head = head;
    if !options.proxy_100_continue
        && head
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        head.headers.remove(header::EXPECT);
        let mut continued = Response::new(());
        *continued.status_mut() = StatusCode::CONTINUE;
        if respond.send_informational(continued).is_ok() {
            exchange.continued();
        }
    }
    // The bytes behind a CONNECT are its tunnel's.
    let (body, tunnelled) = if is_tunnel {
        (Body::empty(), Some(stream))
    } else if ended {
        exchange.request_complete();
        (Body::empty(), None)
    } else {
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        (Body::boxed(StreamBody::new(stream, Rc::downgrade(&exchange), length)), None)
    };
    let answer: Answer = {
        let mut serving = pin!(exchange.serve(head, body));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            // A stream that was reset needs no answer, which may even have come of the reset.
            Poll::Ready(answer) => match respond.poll_reset(cx) {
                Poll::Ready(reason) => Poll::Ready(Err(gone(&reason))),
                Poll::Pending => Poll::Ready(Ok(answer)),
            },
            Poll::Pending => respond.poll_reset(cx).map(|reason| Err(gone(&reason))),
        })
        .await
    };
    let outcome = match answer {
        Err(reason) => Err(reason),
        Ok(answer) => {
            let (parts, body) = answer.into_parts();
            match (body.into_tunnel(), tunnelled) {
                (Ok(tunnel), Some(stream)) => {
                    run_tunnel(
                        &*exchange,
                        &mut respond,
                        Response::from_parts(parts, ()),
                        extended,
                        stream,
                        tunnel,
                    )
                    .await
                }
                (Ok(_), None) => Err(DownstreamReset::Local),
                (Err(body), _) => {
                    let body = if is_head { Body::empty() } else { body };
                    send(&*exchange, &mut respond, Response::from_parts(parts, body), extended).await
                }
            }
        }
    };
    guard.finished = true;
    if let Err(reason) = outcome {
        match reason {
            DownstreamReset::StreamReset => stats.rx_reset.inc(),
            DownstreamReset::Disconnected => {}
            DownstreamReset::Local | DownstreamReset::ProtocolError(_) | DownstreamReset::Refused(_) => {
                stats.tx_reset.inc();
                // A reset overtakes what waits to be sent; the connection gets a turn to send it.
                yield_now().await;
                respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
        exchange.reset(reason);
    }
}

/// Lets the connection run once before this stream goes on. Twice, since the set of streams goes on with the others, and
/// may come back here, until somebody yields for the second time.
async fn yield_now() {
    let mut turns = 0;
    poll_fn(|cx| {
        if turns == 2 {
            return Poll::Ready(());
        }
        turns += 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Tells an exchange that its connection is gone.
struct Guard<'a, E: Exchange> {
    exchange: &'a Rc<E>,
    ending: &'a Cell<Option<DownstreamReset>>,
    finished: bool,
}

impl<E: Exchange> Drop for Guard<'_, E> {
    fn drop(&mut self) {
        if !self.finished
            && let Some(reason) = self.ending.get()
        {
            self.exchange.reset(reason);
        }
    }
}

/// How a client left a stream.
fn gone(reason: &Result<Reason, h2::Error>) -> DownstreamReset {
    match reason {
        Ok(_) => DownstreamReset::StreamReset,
        Err(error) if error.is_reset() => DownstreamReset::StreamReset,
        Err(_) => DownstreamReset::Disconnected,
    }
}

/// The request in the form that it has for HTTP/1 as well, and whether it is an extended CONNECT.
fn read_head<E: Exchange>(
    parts: http::request::Parts,
    exchange: &Rc<E>,
    options: &ServerOptions,
) -> Result<(RequestHead, bool), &'static str> {
    let http::request::Parts { mut method, uri, mut headers, mut extensions, .. } = parts;
    exchange.head_received(size_of_head(&method, &uri, &headers));
    if headers.len() > options.max_headers_count {
        options.stats.http2.header_overflow.inc();
        return Err(TOO_MANY_HEADERS);
    }
    check_underscores(&mut headers, options)?;
    let uri = uri.into_parts();
    // User information may not stand there (RFC 9113, section 8.3.1).
    if uri.authority.as_ref().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(INVALID_HEADER_FIELD);
    }
    let authority = match (&uri.authority, headers.remove(header::HOST)) {
        (Some(authority), _) => {
            HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static(""))
        }
        (None, host) => host.unwrap_or(HeaderValue::from_static("")),
    };
    join_cookies(&mut headers);
    let mut path = uri.path_and_query;
    let mut extended = false;
    if let Some(protocol) = extensions.remove::<Protocol>() {
        // Envoy's `transformUpgradeRequestFromH2toH1`. A byte stream is what a CONNECT is anyway.
        if protocol.as_str() == "bytestream" {
            path = None;
        } else {
            method = Method::GET;
            let kind = HeaderValue::from_str(protocol.as_str());
            headers.insert(header::UPGRADE, kind.map_err(|_| INVALID_HEADER_FIELD)?);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            extended = true;
        }
    } else if method == Method::CONNECT {
        path = None;
    }
    let path: Option<PathAndQuery> = path;
    let scheme = uri.scheme.unwrap_or(Scheme::HTTP);
    Ok((RequestHead { method, scheme, authority, path, headers, version: Version::HTTP_2 }, extended))
}

fn size_of_head(method: &Method, uri: &http::Uri, headers: &HeaderMap) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    method.as_str().len()
        + path
        + authority
        + headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}

fn check_underscores(headers: &mut HeaderMap, options: &ServerOptions) -> Result<(), &'static str> {
    if options.underscores == HeadersWithUnderscoresAction::Allow {
        return Ok(());
    }
    let with: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect();
    if with.is_empty() {
        return Ok(());
    }
    let stats = &options.stats.http2;
    if options.underscores == HeadersWithUnderscoresAction::RejectRequest {
        stats.requests_rejected_with_underscores_in_headers.inc();
        return Err(UNEXPECTED_UNDERSCORE);
    }
    for name in with {
        headers.remove(name);
        stats.dropped_headers_with_underscores.inc();
    }
    Ok(())
}

/// HTTP/2 clients may split cookies, and HTTP/1 servers want them whole (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(header::COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// Headers that HTTP/2 has no use for (RFC 9113, section 8.2.2).
fn strip_hop_headers(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Sends an answer.
async fn send<E: Exchange>(
    exchange: &E,
    respond: &mut SendResponse<Bytes>,
    answer: crate::Response,
    extended: bool,
) -> Result<(), DownstreamReset> {
    let (mut parts, body) = answer.into_parts();
    strip_hop_headers(&mut parts.headers);
    if extended && parts.status == StatusCode::SWITCHING_PROTOCOLS {
        parts.status = StatusCode::OK;
    }
    let mut body = pin!(body);
    let ends = body.is_end_stream();
    let size = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let mut stream = respond
        .send_response(Response::from_parts(parts, ()), ends)
        .map_err(|_| DownstreamReset::Disconnected)?;
    exchange.head_sent(size);
    if ends {
        exchange.response_complete();
        return Ok(());
    }
    loop {
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            poll_given_up(exchange, &mut stream, cx).map(Err)
        })
        .await?;
        let frame = match frame {
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                break;
            }
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Err(DownstreamReset::Local),
        };
        match frame.into_data() {
            Ok(data) => {
                if data.is_empty() && !body.is_end_stream() {
                    continue;
                }
                wait_for_window(exchange, &mut stream, data.len()).await?;
                let ends = body.is_end_stream();
                exchange.data_sent(data.len());
                stream.send_data(data, ends).map_err(|_| DownstreamReset::Disconnected)?;
                if ends {
                    break;
                }
            }
            Err(frame) => {
                let trailers = Frame::into_trailers(frame).unwrap_or_default();
                exchange.trailers_sent(&trailers);
                stream.send_trailers(trailers).map_err(|_| DownstreamReset::Disconnected)?;
                break;
            }
        }
    }
    exchange.response_complete();
    Ok(())
}

/// Hands a stream to a tunnel.
async fn run_tunnel<E: Exchange>(
    exchange: &E,
    respond: &mut SendResponse<Bytes>,
    mut head: Response<()>,
    extended: bool,
    received: RecvStream,
    tunnel: Tunnel,
) -> Result<(), DownstreamReset> {
    strip_hop_headers(head.headers_mut());
    head.headers_mut().remove(header::CONTENT_LENGTH);
    if extended && head.status() == StatusCode::SWITCHING_PROTOCOLS {
        *head.status_mut() = StatusCode::OK;
    }
    let size = head.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    let sent = respond.send_response(head, false).map_err(|_| DownstreamReset::Disconnected)?;
    exchange.head_sent(size);
    let mut running = tunnel.run(Box::new(H2StreamIo::new(sent, received, None)));
    poll_fn(|cx| match running.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(())),
        Poll::Pending => exchange.poll_expired(cx).map(|_| Err(DownstreamReset::Local)),
    })
    .await?;
    exchange.response_complete();
    Ok(())
}

/// Waits until the client takes more.
async fn wait_for_window<E: Exchange>(
    exchange: &E,
    stream: &mut SendStream<Bytes>,
    length: usize,
) -> Result<(), DownstreamReset> {
    stream.reserve_capacity(length);
    if stream.capacity() > 0 || length == 0 {
        return Ok(());
    }
    poll_fn(|cx| {
        loop {
            match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(0))) => {}
                Poll::Ready(Some(Ok(_))) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(gone(&Err(error)))),
                Poll::Ready(None) => return Poll::Ready(Err(DownstreamReset::StreamReset)),
                Poll::Pending => return poll_given_up(exchange, stream, cx).map(Err),
            }
        }
    })
    .await
}

/// Ready when the client has reset the stream, or its time is up.
fn poll_given_up<E: Exchange>(
    exchange: &E,
    stream: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
) -> Poll<DownstreamReset> {
    if let Poll::Ready(reason) = stream.poll_reset(cx) {
        return Poll::Ready(gone(&reason));
    }
    exchange.poll_expired(cx).map(|_| DownstreamReset::Local)
}
