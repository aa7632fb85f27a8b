//! The client side of HTTP/2: many requests on one connection, which a task of its own drives.

mod connection;
mod guard;
mod request;
mod upload;

use std::{future::poll_fn, pin::pin, rc::Rc, task::Poll};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

pub(super) use self::connection::{Http2Client, Http2Place, open};
pub(super) use self::request::{Encoded, encode};
use self::{guard::Guard, upload::Upload};
use super::{
    accounting::StreamHold,
    stream::{Established, InterimAnswers, Trailers},
};
use crate::{Body, RequestHead, Response, h2_stream_io::H2StreamIo, reset::StreamReset};

/// Sends a request and waits for the head of the answer.
pub(super) async fn send(
    mut place: Http2Place,
    hold: StreamHold,
    Encoded { request, .. }: Encoded,
    body: Body,
) -> Result<Response, StreamReset> {
    let headers_only = http_body::Body::is_end_stream(&body);
    let mut guard = Guard::new(hold);
    let (answer, stream) = place.send_request(request, headers_only, &mut guard)?;
    let mut upload = (!headers_only).then(|| Box::pin(Upload::new(stream, body)));
    let mut answer = pin!(answer);
    let mut interim = InterimAnswers::default();
    let outcome = poll_fn(|cx| {
        if let Some(sending) = &mut upload
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            upload = None;
            if let Err(reset) = result {
                return Poll::Ready(Err(reset));
            }
        }
        while let Poll::Ready(Some(Ok(early))) = answer.poll_informational(cx) {
            interim.note(early.status());
        }
        answer.as_mut().poll(cx).map_err(|error| {
            place.client.note_error(&error);
            StreamReset::from(&error)
        })
    })
    .await;
    let mut response = outcome.map_err(|reset| guard.fail(reset))?;
    interim.put_into(&mut response);
    if let Some(upload) = upload {
        // What is left of the request must not wait for somebody to read the answer.
        guard.watch(tokio::task::spawn_local(async move {
            let _ = upload.await;
        }));
    }
    Ok(response.map(|stream| Body::http2(stream, Some(Box::new(guard)))))
}

/// Sends a request for a tunnel and waits for the head of the answer.
pub(super) async fn tunnel(
    mut place: Http2Place,
    hold: StreamHold,
    head: RequestHead,
) -> Result<Established, StreamReset> {
    let Encoded { request, upgrade } = encode(head)?;
    let mut guard = Guard::new(hold);
    let (answer, mut stream) = place.send_request(request, false, &mut guard)?;
    let mut answer = answer.await.map_err(|error| {
        place.client.note_error(&error);
        guard.fail((&error).into())
    })?;
    if !answer.status().is_success() {
        // Nothing follows from this side.
        let _ = stream.send_data(Bytes::new(), true);
        let response = answer.map(|stream| Body::http2(stream, Some(Box::new(guard))));
        return Ok(Established { response, io: None, ended: false, trailers: Trailers::default() });
    }
    if let Some(upgrade) = upgrade {
        as_upgraded(&mut answer, upgrade);
    }
    let (parts, recv) = answer.into_parts();
    let ended = recv.is_end_stream();
    let io = H2StreamIo::new(stream, recv, Some(Box::new(guard)));
    let trailers = Rc::clone(io.trailers());
    let response = http::Response::from_parts(parts, Body::empty());
    Ok(Established { response, io: Some(Box::new(io)), ended, trailers })
}

/// The answer to an extended CONNECT in the form of HTTP/1, which everybody but the codecs deals with.
fn as_upgraded<B>(answer: &mut http::Response<B>, upgrade: HeaderValue) {
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::UPGRADE, upgrade);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.remove(header::CONTENT_LENGTH);
}
