//! One end of a pair, and what both share.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::PairOptions;
use super::queue::Queue;
use crate::address::Address;
use crate::io::Io;

/// One end of a connection inside the process. Made by [`pair`](super::pair); it stays on the thread that made it.
pub struct UserSpaceSocket {
    shared: Rc<Shared>,
    end: End,
}

/// Which end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What the two ends have in common.
pub(super) struct Shared {
    /// Written by the client, read by the server.
    to_server: RefCell<Direction>,
    /// Written by the server, read by the client.
    to_client: RefCell<Direction>,
    passthrough: RefCell<Option<Box<dyn Any>>>,
    client_address: Address,
    server_address: Address,
}

impl Shared {
    pub(super) fn new(options: PairOptions) -> Self {
        Self {
            to_server: RefCell::new(Direction::new(options.buffer_size)),
            to_client: RefCell::new(Direction::new(options.buffer_size)),
            passthrough: RefCell::new(None),
            client_address: options.client_address,
            server_address: options.server_address,
        }
    }

    fn address_of(&self, end: End) -> &Address {
        match end {
            End::Client => &self.client_address,
            End::Server => &self.server_address,
        }
    }

    fn written_by(&self, end: End) -> &RefCell<Direction> {
        match end {
            End::Client => &self.to_server,
            End::Server => &self.to_client,
        }
    }

    fn read_by(&self, end: End) -> &RefCell<Direction> {
        self.written_by(end.other())
    }
}

/// One direction: the bytes, who waits for what, and how it ended.
struct Direction {
    queue: Queue,
    writer: Writer,
    reader_gone: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
}

/// What the writing end has said about the future of its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Open,
    /// No more bytes: end of stream behind the queued ones.
    Finished,
    /// Gone without saying so: a reset behind the queued bytes.
    Aborted,
}

impl Direction {
    fn new(limit: usize) -> Self {
        Self {
            queue: Queue::new(limit),
            writer: Writer::Open,
            reader_gone: false,
            read_waker: None,
            write_waker: None,
        }
    }

    /// Ready with whether there are bytes (else it is end of stream), pending while there may be some later.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.queue.len() > 0 {
            return Poll::Ready(Ok(true));
        }
        match self.writer {
            Writer::Finished => Poll::Ready(Ok(false)),
            Writer::Aborted => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Writer::Open => {
                remember(&mut self.read_waker, cx);
                Poll::Pending
            }
        }
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reader_gone || self.writer != Writer::Open {
            // Envoy reports EINVAL for both; BrokenPipe is what a kernel socket says.
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.queue.is_full() {
            remember(&mut self.write_waker, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

/// Wakes outside of every borrow: what a waker runs may come back here.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl UserSpaceSocket {
    pub(super) fn both(shared: &Rc<Shared>) -> (Self, Self) {
        let end = |end| Self { shared: Rc::clone(shared), end };
        (end(End::Client), end(End::Server))
    }

    /// Where this end is.
    pub fn local_address(&self) -> &Address {
        self.shared.address_of(self.end)
    }

    /// Where the other end is.
    pub fn remote_address(&self) -> &Address {
        self.shared.address_of(self.end.other())
    }

    /// Waits until this end, the client's, counts as connected: two turns of the reactor after the listener took the
    /// server end.
    ///
    /// In Envoy the listener accepts inside the client's `connect`, and the client learns that it is connected from a
    /// later turn of its event loop. An internal listener that closes before then, say because its own upstream refuses
    /// at once, therefore fails the client's connect, while one that closes later resets an established connection.
    ///
    /// # Errors
    /// `InvalidInput` if the server end is gone by then: what Envoy logs as `delayed_connect_error:_Invalid_argument`.
    pub async fn connected(&mut self) -> io::Result<()> {
        for _turn in 0..2 {
            tokio::task::yield_now().await;
        }
        if self.shared.written_by(self.end).borrow().reader_gone {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }

    /// Leaves `state` for the listener to take at accept. Replaces what was left before.
    pub fn set_passthrough<T: 'static>(&self, state: T) {
        *self.shared.passthrough.borrow_mut() = Some(Box::new(state));
    }

    /// Takes what the other side left, if something of this type was.
    pub fn take_passthrough<T: 'static>(&self) -> Option<T> {
        let mut slot = self.shared.passthrough.borrow_mut();
        match slot.take()?.downcast::<T>() {
            Ok(state) => Some(*state),
            Err(other) => {
                *slot = Some(other);
                None
            }
        }
    }

    /// How many bytes wait to be read at this end.
    pub fn unread(&self) -> usize {
        self.shared.read_by(self.end).borrow().queue.len()
    }

    /// How many bytes of memory the direction towards this end holds.
    pub fn held(&self) -> usize {
        self.shared.read_by(self.end).borrow().queue.held()
    }

    /// Drops `n` bytes of the front chunk and wakes a writer that waited for the low watermark.
    fn consume(&self, n: usize) {
        let mut direction = self.shared.read_by(self.end).borrow_mut();
        let writer = if direction.queue.consume(n) { direction.write_waker.take() } else { None };
        drop(direction);
        wake(writer);
    }

    /// Runs `push` on the queue of this end's writes and wakes the reader for what it added.
    fn poll_push(
        &self,
        cx: &mut Context<'_>,
        push: impl FnOnce(&mut Queue) -> usize,
    ) -> Poll<io::Result<usize>> {
        let progress = ready!(coop::poll_proceed(cx));
        let mut direction = self.shared.written_by(self.end).borrow_mut();
        ready!(direction.poll_writable(cx))?;
        let n = push(&mut direction.queue);
        let reader = direction.read_waker.take();
        drop(direction);
        progress.made_progress();
        wake(reader);
        Poll::Ready(Ok(n))
    }

    /// Ends this end's writes as `how`, unless they have ended before.
    fn end_writes(&self, how: Writer) {
        let mut direction = self.shared.written_by(self.end).borrow_mut();
        if direction.writer == Writer::Open || how == Writer::Aborted {
            direction.writer = how;
        }
        let reader = direction.read_waker.take();
        drop(direction);
        wake(reader);
    }

    /// Nobody reads at this end any more.
    fn end_reads(&self) {
        let mut direction = self.shared.read_by(self.end).borrow_mut();
        direction.reader_gone = true;
        let unread = std::mem::replace(&mut direction.queue, Queue::new(1));
        let writer = direction.write_waker.take();
        drop(direction);
        drop(unread);
        wake(writer);
    }
}

impl Drop for UserSpaceSocket {
    fn drop(&mut self) {
        let finished = self.shared.written_by(self.end).borrow().writer != Writer::Open;
        if !finished {
            self.end_writes(Writer::Aborted);
        }
        self.end_reads();
    }
}

impl AsyncRead for UserSpaceSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let progress = ready!(coop::poll_proceed(cx));
        let readable = ready!(self.shared.read_by(self.end).borrow_mut().poll_readable(cx))?;
        progress.made_progress();
        while readable && buf.remaining() > 0 {
            let n = {
                let direction = self.shared.read_by(self.end).borrow();
                let front = direction.queue.front();
                let n = front.len().min(buf.remaining());
                buf.put_slice(&front[..n]);
                n
            };
            if n == 0 {
                break;
            }
            self.consume(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UserSpaceSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_push(cx, |queue| queue.push_slice(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_push(cx, |queue| queue.push_slices(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end_writes(Writer::Finished);
        Poll::Ready(Ok(()))
    }
}

impl Io for UserSpaceSocket {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let progress = ready!(coop::poll_proceed(cx));
        let mut direction = self.shared.read_by(self.end).borrow_mut();
        ready!(direction.poll_readable(cx))?;
        progress.made_progress();
        for piece in direction.queue.pieces() {
            let n = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..n]);
        }
        Poll::Ready(Ok(()))
    }

    fn lends_bytes(&self) -> bool {
        true
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let progress = ready!(coop::poll_proceed(cx));
        let mut direction = self.shared.read_by(self.end).borrow_mut();
        ready!(direction.poll_readable(cx))?;
        let (bytes, drained) = direction.queue.pop_bytes(max);
        let writer = if drained { direction.write_waker.take() } else { None };
        drop(direction);
        progress.made_progress();
        wake(writer);
        Poll::Ready(Ok(bytes))
    }

    fn takes_bytes(&self) -> bool {
        true
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.poll_push(cx, |queue| queue.push_bytes(bytes))
    }

    fn user_space_socket(&mut self) -> Option<&mut UserSpaceSocket> {
        Some(self)
    }

    fn reset(&mut self) {
        self.end_writes(Writer::Aborted);
        self.end_reads();
    }
}

impl fmt::Debug for UserSpaceSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSpaceSocket").field("end", &self.end).field("unread", &self.unread()).finish()
    }
}
