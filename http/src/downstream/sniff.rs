//! Finds out whether a client speaks HTTP/2: its connections begin with a preface that no HTTP/1 request has.
//!
//! As in Envoy, the first bytes decide: what is no beginning of the preface is HTTP/1.

use std::{future::poll_fn, task::Poll};

use bytes::BytesMut;
use underpass_core::io::{BoxIo, Prefixed};

use super::RequestHandler;

/// The part of the preface (RFC 9113, section 3.4) by which Envoy decides.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// What was read, the connection, and whether it is HTTP/2; none if it ended before it had said anything.
pub(super) async fn sniff<H: RequestHandler>(io: BoxIo, handler: &H) -> Option<(BytesMut, BoxIo, bool)> {
    let mut stream = Prefixed::new(io);
    loop {
        let ended = poll_fn(|cx| {
            if let Poll::Ready(filled) = stream.poll_fill(cx, 16 * 1024) {
                let ended = !filled.is_ok_and(|n| n > 0);
                if ended {
                    handler.client_closed();
                }
                return Poll::Ready(ended);
            }
            handler.poll_closing(cx).map(|_| true)
        })
        .await;
        let seen = stream.buffered();
        let compared = seen.len().min(PREFACE.len());
        let decided = if seen[..compared] != PREFACE[..compared] {
            Some(false)
        } else if compared == PREFACE.len() {
            Some(true)
        } else {
            // A piece of the preface is no request of HTTP/1 either, but its codec says so.
            ended.then_some(false)
        };
        if let Some(http2) = decided {
            let (seen, io) = stream.into_parts();
            return (!seen.is_empty()).then_some((seen, io, http2));
        }
    }
}
