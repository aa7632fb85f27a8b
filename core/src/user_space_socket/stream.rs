//! An end as a byte stream: each operation goes through the queues, or straight to the upstream of a relay behind the pair.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::direction::Writer;
use super::end::{End, wake};
use super::fusion::Met;
use super::{RefusalNote, UserSpaceSocket};
use crate::io::{BoxIo, Io};

/// The largest piece that is made for who asked for one.
const COPIED_AT_ONCE: usize = 16 * 1024;

impl AsyncRead for UserSpaceSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = |io: &mut BoxIo, cx: &mut Context<'_>| {
            let before = buf.filled().len();
            Pin::new(io).poll_read(cx, buf).map_ok(|()| buf.filled().len() - before)
        };
        if let Some(read) = self.poll_read_fused(cx, read) {
            return read.map_ok(|_| ());
        }
        if ready!(self.poll_readable(cx))? {
            self.take(|queue| ((), queue.read_into(buf)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UserSpaceSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(written) = self.poll_write_fused(cx, |io, cx| Pin::new(io).poll_write(cx, buf)) {
            return written;
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
        if let Some(written) = self.poll_write_fused(cx, |io, cx| Pin::new(io).poll_write_vectored(cx, bufs))
        {
            return written;
        }
        self.poll_push(cx, |queue| queue.push_slices(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.ask_fused(AsyncWrite::is_write_vectored).unwrap_or(true)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_fused(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end == End::Client {
            if self.finish_fused(cx) {
                self.writes().borrow_mut().note_finished();
                return Poll::Ready(Ok(()));
            }
            self.part(Met::Nothing);
        }
        // Too late to have finished before the other end went, which is what reading asks.
        if self.writes().borrow().reader_gone {
            return Poll::Ready(Ok(()));
        }
        let reader = self.writes().borrow_mut().end_writes(Writer::Finished);
        wake(reader);
        Poll::Ready(Ok(()))
    }
}

impl Io for UserSpaceSocket {
    fn poll_peek(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let peek = |io: &mut BoxIo, cx: &mut Context<'_>| {
            let before = buf.filled().len();
            io.poll_peek(cx, buf).map_ok(|()| buf.filled().len() - before)
        };
        if let Some(peeked) = self.poll_peek_fused(cx, peek) {
            return peeked.map_ok(|_| ());
        }
        if ready!(self.poll_readable(cx))? {
            self.reads().borrow().queue.peek_into(buf);
        }
        Poll::Ready(Ok(()))
    }

    fn lends_bytes(&self) -> bool {
        let direct = if self.unread() == 0 { self.ask_for_bytes(Io::lends_bytes) } else { None };
        direct.unwrap_or_else(|| self.reads().borrow().queue.front_is_dense())
    }

    fn poll_read_bytes(&mut self, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<Bytes>> {
        let mut bytes = Bytes::new();
        let read = |io: &mut BoxIo, cx: &mut Context<'_>| {
            if !io.lends_bytes() {
                return poll_read_copied(io, cx, max, &mut bytes);
            }
            bytes = ready!(io.poll_read_bytes(cx, max))?;
            Poll::Ready(Ok(bytes.len()))
        };
        if max > 0
            && let Some(read) = self.poll_read_fused(cx, read)
        {
            return read.map_ok(|_| bytes);
        }
        if max > 0 && ready!(self.poll_readable(cx))? {
            return Poll::Ready(Ok(self.take(|queue| queue.pop_bytes(max))));
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    fn takes_bytes(&self) -> bool {
        self.ask_for_bytes(Io::takes_bytes).unwrap_or(true)
    }

    fn poll_write_bytes(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if let Some(written) = self.poll_write_fused(cx, |io, cx| io.poll_write_bytes(cx, bytes)) {
            return written;
        }
        self.poll_push(cx, |queue| queue.push_bytes(bytes))
    }

    fn splices(&self) -> bool {
        self.unread() == 0 && self.ask_fused(Io::splices).unwrap_or(false)
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        max: usize,
    ) -> Poll<io::Result<usize>> {
        let read = self.poll_read_fused(cx, |io, cx| io.poll_splice_in(cx, pipe, max));
        read.unwrap_or_else(|| Poll::Ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn poll_splice_out(
        &mut self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let written = self.poll_write_fused(cx, |io, cx| io.poll_splice_out(cx, pipe, len));
        written.unwrap_or_else(|| Poll::Ready(Err(io::ErrorKind::Unsupported.into())))
    }

    fn poll_peer_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.writes().borrow_mut().poll_reader_gone(cx)
    }

    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever has finished writing takes it for a usual end when the other end goes.
        let has_finished = self.writes().borrow().writer == Writer::Finished;
        self.reads().borrow_mut().poll_writer_aborted(cx, has_finished)
    }

    fn user_space_socket(&mut self) -> Option<&mut UserSpaceSocket> {
        Some(self)
    }

    fn refusal_note(&self) -> Option<RefusalNote> {
        Some(RefusalNote(Rc::clone(&self.shared)))
    }

    fn reset(&mut self) {
        self.leave(Writer::Reset);
    }
}

/// For who takes whole pieces of a stream that lends none, since it is not the one it was when that was asked.
fn poll_read_copied(
    io: &mut BoxIo,
    cx: &mut Context<'_>,
    max: usize,
    bytes: &mut Bytes,
) -> Poll<io::Result<usize>> {
    let mut memory = vec![0; max.min(COPIED_AT_ONCE)];
    let mut buf = ReadBuf::new(&mut memory);
    ready!(Pin::new(io).poll_read(cx, &mut buf))?;
    let n = buf.filled().len();
    memory.truncate(n);
    *bytes = memory.into();
    Poll::Ready(Ok(n))
}
