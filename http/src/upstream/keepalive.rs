//! Pings that find out whether the peer of an HTTP/2 connection is still there.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::protocol_options::Keepalive;

/// The pings of one connection (`connection_keepalive`).
pub(crate) struct Pings {
    pings: PingPong,
    settings: Keepalive,
    /// The next ping, or the end of the wait for an answer.
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Pings {
    /// Pings as the settings say.
    pub(crate) fn new(pings: PingPong, settings: Keepalive) -> Self {
        let mut pings = Self { pings, settings, timer: None, waiting: false };
        pings.rest();
        pings
    }

    /// Ready once an answer is overdue. To be polled whenever the connection is. `now` asks for a ping at once.
    pub(crate) fn poll_timeout(&mut self, now: bool, cx: &mut Context<'_>) -> Poll<()> {
        if now && !self.waiting {
            self.ping();
        }
        loop {
            if self.waiting && self.pings.poll_pong(cx).is_ready() {
                self.rest();
            }
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            std::task::ready!(timer.as_mut().poll(cx));
            if self.waiting {
                return Poll::Ready(());
            }
            self.ping();
        }
    }

    fn ping(&mut self) {
        // It fails if one is on its way, whose answer does as well, or if the connection is over.
        let _ = self.pings.send_ping(Ping::opaque());
        self.waiting = true;
        self.set_timer(Some(Instant::now() + self.settings.timeout));
    }

    fn rest(&mut self) {
        self.waiting = false;
        let next = self.settings.next_interval().map(|interval| Instant::now() + interval);
        self.set_timer(next);
    }

    fn set_timer(&mut self, deadline: Option<Instant>) {
        self.timer = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
    }
}
