//! A body that is written by hand, with back-pressure.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::{Body, BodyError, Kind};
use crate::reset::ResetReason;

/// The writing end of a [`Body`]. Dropping it before [`finish`](Self::finish) breaks the body off.
pub struct BodySender(Rc<RefCell<Channel>>);

/// The reading end.
pub(super) struct ChannelBody(Rc<RefCell<Channel>>);

struct Channel {
    frames: VecDeque<Frame<Bytes>>,
    /// Bytes of data in `frames`.
    buffered: usize,
    limit: usize,
    /// Set once nothing follows: in order, or broken off.
    end: Option<Result<(), BodyError>>,
    reader_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Nobody reads the body any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct BodyUnwanted;

/// A body and its writing end, which takes about `limit` bytes ahead of the reader.
pub(super) fn channel(limit: usize) -> (BodySender, ChannelBody) {
    let channel = Rc::new(RefCell::new(Channel {
        frames: VecDeque::new(),
        buffered: 0,
        limit: limit.max(1),
        end: None,
        reader_gone: false,
        reader: None,
        writer: None,
    }));
    (BodySender(Rc::clone(&channel)), ChannelBody(channel))
}

impl BodySender {
    /// Waits until there is room for more data.
    ///
    /// # Errors
    /// If nobody reads the body any more.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyUnwanted>> {
        let mut channel = self.0.borrow_mut();
        if channel.reader_gone {
            return Poll::Ready(Err(BodyUnwanted));
        }
        if channel.buffered < channel.limit {
            return Poll::Ready(Ok(()));
        }
        channel.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until nobody reads the body any more. It shares its waker with [`poll_ready`](Self::poll_ready).
    pub fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut channel = self.0.borrow_mut();
        if channel.reader_gone {
            return Poll::Ready(());
        }
        channel.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Appends data, whether there is room or not.
    ///
    /// # Errors
    /// If nobody reads the body any more.
    pub fn send(&mut self, data: Bytes) -> Result<(), BodyUnwanted> {
        if data.is_empty() {
            return Ok(());
        }
        let mut channel = self.0.borrow_mut();
        channel.buffered += data.len();
        channel.push(Frame::data(data))
    }

    /// Ends the body in order, with trailers.
    ///
    /// # Errors
    /// If nobody reads the body any more.
    pub fn finish_with(self, trailers: HeaderMap) -> Result<(), BodyUnwanted> {
        self.0.borrow_mut().push(Frame::trailers(trailers))?;
        self.finish();
        Ok(())
    }

    /// Ends the body in order.
    pub fn finish(self) {
        self.0.borrow_mut().end(Ok(()));
    }

    /// Breaks the body off.
    pub fn abort(self, error: BodyError) {
        self.0.borrow_mut().end(Err(error));
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        self.0.borrow_mut().end(Err(BodyError::Reset(ResetReason::LocalReset.into())));
    }
}

impl Channel {
    fn push(&mut self, frame: Frame<Bytes>) -> Result<(), BodyUnwanted> {
        if self.reader_gone {
            return Err(BodyUnwanted);
        }
        self.frames.push_back(frame);
        self.wake_reader();
        Ok(())
    }

    /// The first end counts.
    fn end(&mut self, end: Result<(), BodyError>) {
        if self.end.is_none() {
            self.end = Some(end);
            self.wake_reader();
        }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl ChannelBody {
    pub(super) fn into_body(self) -> Body {
        Body(Kind::Channel(self))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut channel = self.0.borrow_mut();
        if let Some(frame) = channel.frames.pop_front() {
            channel.buffered -= frame.data_ref().map_or(0, Bytes::len);
            if channel.buffered < channel.limit {
                channel.wake_writer();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match &channel.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => {
                let error = error.clone();
                channel.end = Some(Ok(()));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                channel.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let channel = self.0.borrow();
        channel.frames.is_empty() && matches!(channel.end, Some(Ok(())))
    }
}

impl Drop for ChannelBody {
    fn drop(&mut self) {
        let mut channel = self.0.borrow_mut();
        channel.reader_gone = true;
        channel.frames.clear();
        channel.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::Pin, task::Waker};

    use super::*;

    fn frame(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        http_body::Body::poll_frame(Pin::new(body), &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_writer_waits_while_the_reader_has_enough_and_learns_when_it_is_gone() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut sender, mut body) = Body::channel(4);
        sender.send("hello".into()).unwrap();
        assert!(sender.poll_ready(&mut context).is_pending());
        let Poll::Ready(Some(Ok(data))) = frame(&mut body) else { panic!("no data") };
        assert_eq!(data.into_data().unwrap(), "hello");
        assert_eq!(sender.poll_ready(&mut context), Poll::Ready(Ok(())));
        assert!(frame(&mut body).is_pending());
        drop(body);
        assert_eq!(sender.poll_ready(&mut context), Poll::Ready(Err(BodyUnwanted)));
        assert_eq!(sender.send("more".into()), Err(BodyUnwanted));
    }

    #[tokio::test]
    async fn a_body_whose_writer_is_dropped_breaks_off() {
        let (sender, mut body) = Body::channel(4);
        drop(sender);
        let end = poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await;
        assert!(end.unwrap().is_err());
        let (sender, mut body) = Body::channel(4);
        sender.finish();
        assert!(poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut body), cx)).await.is_none());
    }
}
