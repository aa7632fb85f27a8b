//! The body of an HTTP/1 answer.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{Http1Client, Sent, StreamHold, fail, finish};
use crate::{BodyError, reset::ResetReason};

/// What is left of an exchange after the head of its answer. Reading it drives the connection; at its end the connection
/// goes back to the pool. Dropping it earlier closes the connection.
pub(crate) struct Http1Answer {
    driver: Driver,
    hold: Option<StreamHold>,
    sent: Sent,
    body: Incoming,
}

enum Driver {
    /// Whoever reads the answer.
    Reader(Box<Http1Client>),
    /// A task: the request is still being sent, and must not wait for somebody to read the answer.
    Task(Rc<RefCell<Option<Box<Http1Client>>>>),
    /// The exchange is over.
    Nobody,
}

impl Http1Answer {
    pub(super) fn new(client: Box<Http1Client>, hold: StreamHold, body: Incoming, sent: Sent) -> Self {
        let driver = if sent.as_ref().is_none_or(|sent| sent.get()) {
            Driver::Reader(client)
        } else {
            let shared = Rc::new(RefCell::new(Some(client)));
            let driven = Rc::clone(&shared);
            tokio::task::spawn_local(poll_fn(move |cx| match &mut *driven.borrow_mut() {
                Some(client) => client.poll_driver(cx),
                None => Poll::Ready(()),
            }));
            Driver::Task(shared)
        };
        Self { driver, hold: Some(hold), sent, body }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Asking for the body makes the connection read it.
        let mut frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending()
            && let Driver::Reader(client) = &mut self.driver
        {
            let _ = client.poll_driver(cx);
            frame = Pin::new(&mut self.body).poll_frame(cx);
        }
        match frame {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(hold) = &self.hold {
                    hold.note_wire_bytes();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.fail(&error)))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    fn take_client(&mut self) -> Option<Box<Http1Client>> {
        match std::mem::replace(&mut self.driver, Driver::Nobody) {
            Driver::Reader(client) => Some(client),
            Driver::Task(shared) => shared.take(),
            Driver::Nobody => None,
        }
    }

    fn end(&mut self) {
        if let (Some(client), Some(hold)) = (self.take_client(), self.hold.take()) {
            finish(client, hold, &self.sent);
        }
    }

    fn fail(&mut self, error: &hyper::Error) -> BodyError {
        let reset = match (self.take_client(), self.hold.take()) {
            (Some(client), Some(hold)) => fail(&client, &hold, error),
            _ => ResetReason::ConnectionTermination.into(),
        };
        BodyError::Reset(reset)
    }
}

impl Drop for Http1Answer {
    fn drop(&mut self) {
        // Who saw the end coming need not read it.
        if self.body.is_end_stream() {
            self.end();
        }
    }
}
