//! Asks a client now and then whether it is still there (`connection_keepalive`).

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use crate::protocol_options;

/// Sends PINGs and waits for their answers.
pub(super) struct Keepalive(Option<Running>);

struct Running {
    options: protocol_options::Keepalive,
    ping_pong: PingPong,
    timer: Pin<Box<Sleep>>,
    /// A PING is out.
    waiting: bool,
}

impl Keepalive {
    pub(super) fn new(options: Option<&protocol_options::Keepalive>, ping_pong: Option<PingPong>) -> Self {
        let running = options.zip(ping_pong).and_then(|(options, ping_pong)| {
            let timer = Box::pin(sleep(options.next_interval()?));
            Some(Running { options: options.clone(), ping_pong, timer, waiting: false })
        });
        Self(running)
    }

    /// Ready when a PING was not answered in time.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(running) = &mut self.0 else { return Poll::Pending };
        if running.waiting
            && let Poll::Ready(answer) = running.ping_pong.poll_pong(cx)
        {
            running.waiting = false;
            let next = running.options.next_interval().unwrap_or_default();
            running.timer.as_mut().reset(Instant::now() + next);
            if answer.is_err() {
                return Poll::Pending;
            }
        }
        while running.timer.as_mut().poll(cx).is_ready() {
            if running.waiting || running.ping_pong.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            running.waiting = true;
            running.timer.as_mut().reset(Instant::now() + running.options.timeout);
            // Registers the task for the answer.
            let _ = running.ping_pong.poll_pong(cx);
        }
        Poll::Pending
    }
}
