//! The body of an HTTP/1 request: takes it out of its framing, and passes it to whoever serves the request.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use super::head::Framing;
use crate::{
    BodyError,
    downstream::Exchange,
    reset::{ResetReason, StreamReset},
};

/// Where a decoder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a body, or of a chunk, are to come.
    Data(u64),
    /// A chunk's size is to come.
    ChunkSize,
    /// The end of line after a chunk is to come.
    ChunkEnd,
    /// Trailers are to come.
    Trailers,
    Done,
}

/// Takes a body out of its framing.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    chunked: bool,
}

/// What a decoder found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    Data(Bytes),
    /// The end; with trailers where there are any.
    End(Option<HeaderMap>),
    /// More bytes are needed.
    Nothing,
}

/// The framing is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFraming;

/// What a piece of a body costs beside its bytes: many small chunks must not take more memory than a large one.
const PIECE: usize = 64;
/// A line with a chunk's size and its extensions; what is longer is an attack.
const MAX_CHUNK_LINE: usize = 4096;
/// Trailers together.
const MAX_TRAILERS: usize = 60 * 1024;

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let (state, chunked) = match framing {
            Framing::None | Framing::Length(0) => (State::Done, false),
            Framing::Length(length) => (State::Data(length), false),
            Framing::Chunked => (State::ChunkSize, true),
        };
        Self { state, chunked }
    }

    /// How much is still to come, where that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Data(length) if !self.chunked => Some(length),
            State::Done => Some(0),
            _ => None,
        }
    }

    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadFraming> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End(None)),
                State::Data(_) if buffer.is_empty() => return Ok(Decoded::Nothing),
                State::Data(length) => {
                    let taken = usize::try_from(length).unwrap_or(usize::MAX).min(buffer.len());
                    let rest = length - taken as u64;
                    self.state = match rest {
                        0 if self.chunked => State::ChunkEnd,
                        0 => State::Done,
                        rest => State::Data(rest),
                    };
                    return Ok(Decoded::Data(buffer.split_to(taken).freeze()));
                }
                State::ChunkEnd => match buffer.first_chunk::<2>() {
                    Some(b"\r\n") => {
                        buffer.advance(2);
                        self.state = State::ChunkSize;
                    }
                    Some(_) => return Err(BadFraming),
                    None if buffer.first().is_some_and(|byte| *byte != b'\r') => return Err(BadFraming),
                    None => return Ok(Decoded::Nothing),
                },
                State::ChunkSize => match chunk_size(buffer)? {
                    Some(0) => self.state = State::Trailers,
                    Some(size) => self.state = State::Data(size),
                    None => return Ok(Decoded::Nothing),
                },
                State::Trailers => match trailers(buffer)? {
                    Some(trailers) => {
                        self.state = State::Done;
                        return Ok(Decoded::End(Some(trailers).filter(|trailers| !trailers.is_empty())));
                    }
                    None => return Ok(Decoded::Nothing),
                },
            }
        }
    }
}

/// Takes the line with a chunk's size off the buffer. Extensions are ignored (RFC 9112, section 7.1.1).
fn chunk_size(buffer: &mut BytesMut) -> Result<Option<u64>, BadFraming> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
        let digits = buffer.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let odd = buffer.get(digits).is_some_and(|byte| !matches!(byte, b';' | b'\r' | b' ' | b'\t'));
        let hopeless =
            odd || !buffer.is_empty() && digits == 0 || digits > 16 || buffer.len() > MAX_CHUNK_LINE;
        return if hopeless { Err(BadFraming) } else { Ok(None) };
    };
    if end > MAX_CHUNK_LINE {
        return Err(BadFraming);
    }
    // A line feed alone ends no line here: what others may take for a part of an extension must not be a size.
    let line = buffer[..end].strip_suffix(b"\r").ok_or(BadFraming)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let rest = line[digits..].trim_ascii_start();
    let extension = rest.is_empty() || rest.starts_with(b";");
    let clean = !rest.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    if digits == 0 || digits > 16 || !extension || !clean {
        return Err(BadFraming);
    }
    let size = std::str::from_utf8(&line[..digits]).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    let size = size.filter(|size| *size <= u64::MAX >> 1).ok_or(BadFraming)?;
    buffer.advance(end + 1);
    Ok(Some(size))
}

/// Takes trailers and the empty line after them off the buffer; an empty map, if there are none.
fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, BadFraming> {
    if let Some(b"\r\n") = buffer.first_chunk::<2>() {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut space = [httparse::EMPTY_HEADER; 100];
    match httparse::parse_headers(buffer, &mut space) {
        // However many reads they came in.
        Ok(httparse::Status::Complete((size, _))) if size > MAX_TRAILERS => Err(BadFraming),
        Ok(httparse::Status::Complete((size, lines))) => {
            let mut trailers = HeaderMap::with_capacity(lines.len());
            for line in lines {
                let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| BadFraming)?;
                trailers.append(name, HeaderValue::from_bytes(line.value).map_err(|_| BadFraming)?);
            }
            buffer.advance(size);
            Ok(Some(trailers))
        }
        Ok(httparse::Status::Partial) if buffer.len() <= MAX_TRAILERS => Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => Err(BadFraming),
    }
}

/// What lies between the connection, which fills it, and the body, from which it is taken.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pieces: VecDeque<Bytes>,
    waiting: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    failed: bool,
    /// Nobody wants the rest.
    dropped: bool,
    remaining: Option<u64>,
    /// Bytes of a body that was there with its head, and that nobody has heard of yet.
    unreported: Option<usize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The connection's end.
#[derive(Debug, Clone)]
pub(super) struct BodySender(Rc<RefCell<Channel>>);

/// The body. A body that was there with its head tells the exchange itself that it was taken.
pub(super) struct BodyReceiver<E: Exchange>(Rc<RefCell<Channel>>, Weak<E>);

pub(super) fn channel<E: Exchange>(
    remaining: Option<u64>,
    exchange: Weak<E>,
) -> (BodySender, BodyReceiver<E>) {
    let channel = Rc::new(RefCell::new(Channel { remaining, ..Channel::default() }));
    (BodySender(Rc::clone(&channel)), BodyReceiver(channel, exchange))
}

impl BodySender {
    /// Whether it takes more; if not, the task is woken when it does.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, limit: usize) -> Poll<()> {
        let mut channel = self.0.borrow_mut();
        if channel.dropped || channel.waiting < limit {
            return Poll::Ready(());
        }
        remember(&mut channel.writer, cx);
        Poll::Pending
    }

    pub(super) fn send(&self, data: Bytes) {
        let mut channel = self.0.borrow_mut();
        if !channel.dropped {
            channel.waiting += data.len() + PIECE;
            channel.pieces.push_back(data);
            wake(&mut channel.reader);
        }
    }

    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        let mut channel = self.0.borrow_mut();
        channel.trailers = trailers;
        channel.ended = true;
        wake(&mut channel.reader);
    }

    /// All of a body, before anybody has heard of it.
    pub(super) fn send_all(&self, data: Bytes) {
        self.0.borrow_mut().unreported = Some(data.len());
        self.send(data);
        self.end(None);
    }

    /// How much of the body nobody has heard of; asked once.
    pub(super) fn take_unreported(&self) -> Option<usize> {
        self.0.borrow_mut().unreported.take()
    }

    /// Whether all of the body was taken, or is waited for by nobody.
    pub(super) fn was_reported(&self) -> bool {
        self.0.borrow().unreported.is_none()
    }

    /// The client is gone before the end.
    pub(super) fn fail(&self) {
        let mut channel = self.0.borrow_mut();
        if !channel.ended {
            channel.failed = true;
            wake(&mut channel.reader);
        }
    }
}

fn remember(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl<E: Exchange> Drop for BodyReceiver<E> {
    fn drop(&mut self) {
        let mut channel = self.0.borrow_mut();
        channel.dropped = true;
        channel.pieces.clear();
        wake(&mut channel.writer);
    }
}

impl<E: Exchange> http_body::Body for BodyReceiver<E> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut channel = self.0.borrow_mut();
        if let Some(piece) = channel.pieces.pop_front() {
            channel.waiting -= piece.len() + PIECE;
            if let Some(remaining) = &mut channel.remaining {
                *remaining = remaining.saturating_sub(piece.len() as u64);
            }
            wake(&mut channel.writer);
            let unreported = channel.unreported.take();
            drop(channel);
            if let (Some(bytes), Some(exchange)) = (unreported, self.1.upgrade()) {
                exchange.data_received(bytes);
                exchange.request_complete();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(trailers) = channel.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if channel.ended {
            return Poll::Ready(None);
        }
        if channel.failed {
            return Poll::Ready(Some(Err(StreamReset::from(ResetReason::RemoteReset).into())));
        }
        remember(&mut channel.reader, cx);
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let channel = self.0.borrow();
        channel.ended && channel.pieces.is_empty() && channel.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().remaining.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
