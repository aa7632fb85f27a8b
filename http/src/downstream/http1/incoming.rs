//! What of a request is still to come while it is served: the rest of its body, and then the client's end.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    Broken, Connection, READ_AHEAD,
    body::{self, BodySender, Decoded, Decoder},
    head::Framing,
};
use crate::{
    Body,
    downstream::{Exchange, RequestHandler},
};

/// What of a request is still to come.
pub(super) struct Incoming {
    pub(super) decoder: Decoder,
    pub(super) sender: Option<BodySender>,
    /// A CONNECT or an upgrade, behind which the bytes of a tunnel come.
    is_tunnel: bool,
    pub(super) complete: bool,
}

impl Incoming {
    /// Tells the body that the rest will not come.
    pub(super) fn fail(&self) {
        if let Some(sender) = &self.sender {
            sender.fail();
        }
    }
}

impl<H: RequestHandler> Connection<'_, H> {
    /// The body of a request whose head was just taken off the buffer.
    pub(super) fn take_body(
        &mut self,
        exchange: &Rc<H::Exchange>,
        framing: Framing,
        is_tunnel: bool,
    ) -> (Incoming, Body) {
        let decoder = Decoder::new(framing);
        let mut incoming = Incoming { decoder, sender: None, is_tunnel, complete: false };
        if framing == Framing::None {
            // What follows a CONNECT or an upgrade belongs to it, so it is never complete before its answer.
            incoming.complete = !is_tunnel;
            return (incoming, Body::empty());
        }
        let (sender, receiver) = body::channel(incoming.decoder.remaining(), Rc::downgrade(exchange));
        if let Framing::Length(length) = framing
            && length <= self.read.len() as u64
        {
            let length = usize::try_from(length).unwrap_or(self.read.len());
            sender.send_all(self.read.split_to(length).freeze());
            incoming.decoder = Decoder::new(Framing::None);
        }
        incoming.sender = Some(sender);
        (incoming, Body::boxed(receiver))
    }

    /// Ready once the client has aborted, although nothing is read.
    fn poll_aborted(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if !self.options.notices_aborts {
            return Poll::Pending;
        }
        self.unread.poll(&mut self.io, cx).map(|()| Broken::Gone)
    }

    /// Reads what comes while a request is served: its body, and then the client's end.
    pub(super) fn poll_incoming(
        &mut self,
        cx: &mut Context<'_>,
        incoming: &mut Incoming,
        exchange: &H::Exchange,
    ) -> Poll<Broken> {
        loop {
            if let Some(sender) = &incoming.sender {
                loop {
                    if incoming.complete {
                        break;
                    }
                    if sender.poll_room(cx, self.options.buffer_limit).is_pending() {
                        return self.poll_aborted(cx);
                    }
                    match incoming.decoder.decode(&mut self.read) {
                        Err(_) => return Poll::Ready(Broken::Framing),
                        Ok(Decoded::Nothing) => break,
                        Ok(Decoded::Data(data)) => {
                            exchange.data_received(data.len());
                            sender.send(data);
                        }
                        Ok(Decoded::End(trailers)) => {
                            incoming.complete = true;
                            exchange.request_complete();
                            sender.end(trailers.filter(|_| self.options.http1.enable_trailers));
                        }
                    }
                }
            }
            if self.ended && self.keeps_end(incoming) {
                return Poll::Pending;
            }
            if self.read.len() >= READ_AHEAD {
                return self.poll_aborted(cx);
            }
            match ready!(self.poll_read(cx)) {
                Ok(n) if n > 0 => {}
                Ok(_) if self.keeps_end(incoming) => {}
                _ => return Poll::Ready(Broken::Gone),
            }
        }
    }

    /// Whether the end of the client's side is left to a tunnel. In Envoy it ends the exchange.
    fn keeps_end(&self, incoming: &Incoming) -> bool {
        incoming.is_tunnel && self.options.tunnel_half_close
    }
}
