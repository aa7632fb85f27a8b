//! A request as hyper wants it.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, header, uri::Authority};
use http_body::{Frame, SizeHint};

use crate::{
    Body, BodyError, RequestHead,
    reset::{ResetReason, StreamReset},
};

/// A request's body, which tells when it was read to its end.
pub(super) struct RequestBody {
    body: Body,
    done: Option<Rc<Cell<bool>>>,
}

/// Set once the request's body was read to its end; none, if there is no body.
pub(super) type Sent = Option<Rc<Cell<bool>>>;

/// A request with its target and its `host` header, which goes first, as Envoy sends it.
pub(super) fn encode(head: RequestHead, body: Body) -> Result<(Request<RequestBody>, Sent), StreamReset> {
    let done = (!http_body::Body::is_end_stream(&body)).then(Rc::default);
    let RequestHead { method, authority, path, headers, .. } = head;
    let mut request = Request::new(RequestBody { body, done: done.clone() });
    *request.uri_mut() = if method == Method::CONNECT {
        let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(authority.as_bytes()));
        authority.map(Uri::from).map_err(|_| invalid("CONNECT_needs_an_authority"))?
    } else {
        path.map(Uri::from).ok_or_else(|| invalid("missing_path"))?
    };
    *request.method_mut() = method;
    let mut all = HeaderMap::with_capacity(headers.len() + 2);
    if !authority.is_empty() {
        all.insert(header::HOST, authority);
    }
    all.extend(headers);
    *request.headers_mut() = all;
    Ok((request, done))
}

/// The request cannot be written.
fn invalid(why: &str) -> StreamReset {
    StreamReset { transport_failure_reason: Some(why.to_owned()), ..ResetReason::LocalReset.into() }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(done) = self.done.as_ref().filter(|_| self.body.is_end_stream() || frame.is_none()) {
            done.set(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
