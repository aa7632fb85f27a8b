//! The body of an HTTP/1 answer.

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::{Broken, Http1Client, Length, StreamHold, fail, finish};
use crate::{
    BodyError,
    downstream::http1::{
        body::{Decoded, Decoder},
        head::Framing,
    },
    read_size::READ_SIZES,
};

/// What is left of an exchange after the head of its answer. Reading it reads the connection; at its end the connection
/// goes back to the pool. Dropping it earlier closes the connection.
pub(crate) struct Http1Answer {
    exchange: Exchange,
    hold: Option<StreamHold>,
    body: State,
}

enum Exchange {
    /// Whoever reads the answer drives the connection.
    Reader(Box<Http1Client>),
    /// A task drives it as well: the request is still being sent, and must not wait for somebody to read the answer.
    Shared(Rc<RefCell<Option<Box<Http1Client>>>>, JoinHandle<()>),
    Over,
}

enum State {
    Bytes(u64),
    Chunked(Decoder),
    UntilClose,
    End,
}

impl Http1Answer {
    pub(super) fn new(client: Box<Http1Client>, hold: StreamHold, length: Length) -> Self {
        let body = match length {
            Length::None => State::End,
            Length::Bytes(bytes) => State::Bytes(bytes),
            Length::Chunked => State::Chunked(Decoder::new(Framing::Chunked)),
            Length::UntilClose => State::UntilClose,
        };
        let exchange = if client.is_sent() {
            Exchange::Reader(client)
        } else {
            let shared = Rc::new(RefCell::new(Some(client)));
            let sending = Rc::clone(&shared);
            let task = tokio::task::spawn_local(poll_fn(move |cx| match &mut *sending.borrow_mut() {
                // What goes wrong shows by the request not being complete.
                Some(client) => client.poll_send(cx).map(drop),
                None => Poll::Ready(()),
            }));
            Exchange::Shared(shared, task)
        };
        Self { exchange, hold: Some(hold), body }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let decoded = match &mut self.exchange {
            Exchange::Reader(client) => ready!(self.body.poll(client, cx)),
            Exchange::Shared(shared, _) => match &mut *shared.borrow_mut() {
                Some(client) => ready!(self.body.poll(client, cx)),
                None => Ok(Piece::End(None)),
            },
            Exchange::Over => return Poll::Ready(None),
        };
        match decoded {
            Ok(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Piece::End(trailers)) => {
                self.body = State::End;
                self.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(broken) => {
                self.body = State::End;
                Poll::Ready(Some(Err(self.fail(broken))))
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.body, State::End)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.body {
            State::Bytes(bytes) => SizeHint::with_exact(bytes),
            State::End => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    fn take_client(&mut self) -> Option<Box<Http1Client>> {
        match std::mem::replace(&mut self.exchange, Exchange::Over) {
            Exchange::Reader(client) => Some(client),
            Exchange::Shared(shared, task) => {
                task.abort();
                shared.take()
            }
            Exchange::Over => None,
        }
    }

    fn end(&mut self) {
        if let (Some(client), Some(hold)) = (self.take_client(), self.hold.take()) {
            finish(client, hold);
        }
    }

    fn fail(&mut self, broken: Broken) -> BodyError {
        let reset = match (self.take_client(), self.hold.take()) {
            (Some(client), Some(hold)) => fail(&client, &hold, broken),
            _ => crate::reset::ResetReason::ConnectionTermination.into(),
        };
        BodyError::Reset(reset)
    }
}

enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl State {
    fn poll(&mut self, client: &mut Http1Client, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        loop {
            if !client.read.is_empty() || matches!(self, Self::End) {
                match self.decode(client)? {
                    Some(piece) => return Poll::Ready(Ok(piece)),
                    None if client.ended => return Poll::Ready(Err(Broken::Closed)),
                    None => {}
                }
            }
            if let Some(piece) = ready!(self.poll_more(client, cx)) {
                return Poll::Ready(Ok(Piece::Data(piece)));
            }
            if client.ended && client.read.is_empty() {
                return Poll::Ready(match self {
                    Self::UntilClose => Ok(Piece::End(None)),
                    _ => Err(Broken::Closed),
                });
            }
        }
    }

    /// Reads on. What is nothing but body is handed on as it lies in memory, if it can be; all else goes into the buffer.
    fn poll_more(&mut self, client: &mut Http1Client, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let max = match self {
            Self::UntilClose => READ_SIZES.1,
            Self::Bytes(rest) => usize::try_from(*rest).unwrap_or(usize::MAX).min(READ_SIZES.1),
            _ => 0,
        };
        if max == 0 || client.ended || !client.read.is_empty() || !client.io.lends_bytes() {
            ready!(client.poll_read(cx));
            return Poll::Ready(None);
        }
        let read = ready!(client.io.poll_read_bytes(cx, max));
        let n = client.note_read(&read.as_ref().map(Bytes::len).map_err(|error| error.kind().into()));
        if let Self::Bytes(rest) = self {
            *rest -= n as u64;
            if *rest == 0 {
                *self = Self::End;
            }
        }
        Poll::Ready(read.ok().filter(|piece| !piece.is_empty()))
    }

    /// Takes the next piece off the buffer.
    fn decode(&mut self, client: &mut Http1Client) -> Result<Option<Piece>, Broken> {
        match self {
            Self::End => Ok(Some(Piece::End(None))),
            Self::UntilClose => Ok(Some(Piece::Data(client.read.split().freeze()))),
            Self::Bytes(rest) => {
                let taken = usize::try_from(*rest).unwrap_or(usize::MAX).min(client.read.len());
                *rest -= taken as u64;
                if *rest == 0 {
                    *self = Self::End;
                }
                Ok(Some(Piece::Data(client.read.split_to(taken).freeze())))
            }
            Self::Chunked(decoder) => match decoder.decode(&mut client.read) {
                Ok(Decoded::Data(data)) => Ok(Some(Piece::Data(data))),
                Ok(Decoded::End(trailers)) => {
                    Ok(Some(Piece::End(trailers.filter(|_| client.settings.http1.enable_trailers))))
                }
                Ok(Decoded::Nothing) => Ok(None),
                Err(_) => Err(Broken::Protocol),
            },
        }
    }
}

impl Drop for Http1Answer {
    fn drop(&mut self) {
        // Who saw the end coming need not read it.
        if self.is_end_stream() {
            self.end();
        } else {
            drop(self.take_client());
        }
    }
}
