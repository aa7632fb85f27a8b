//! Bodies that are there as a whole.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use underpass_http::{Body, BodyError};

/// What came of waiting for a body.
pub(crate) enum Buffered {
    /// All of it, with its length.
    Whole(Body, u64),
    /// It broke off.
    Broken,
    /// It is larger than the limit.
    TooLarge,
}

/// Waits for the whole body, up to so many bytes of data.
pub(crate) async fn buffer(mut body: Body, limit: usize) -> Buffered {
    let (mut frames, mut length) = (VecDeque::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Buffered::Broken };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > limit {
            return Buffered::TooLarge;
        }
        frames.push_back(frame);
    }
    let left = length as u64;
    Buffered::Whole(Body::boxed(Frames { frames, left }), left)
}

/// Frames that are there already.
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    /// How many bytes of data they have.
    left: u64,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = self.frames.pop_front();
        if let Some(frame) = &frame {
            self.left = self.left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
