//! Connections without a request: kept until the next one, their end or their idle timeout.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Http1Client;
use crate::upstream::pool::Pool;

/// A connection without a request.
pub(crate) struct Idle {
    client: Box<Http1Client>,
    since: Instant,
}

impl Pool {
    /// Takes the connection that was used last, since it is the one most likely to live.
    pub(in crate::upstream) fn take_idle(&self) -> Option<Box<Http1Client>> {
        loop {
            let Idle { mut client, .. } = self.idle.borrow_mut().pop_back()?;
            // It may have ended without the watch having got its turn yet.
            let ended = client.poll_idle(&mut Context::from_waker(Waker::noop())).is_ready();
            if !ended && !client.connection.is_expired() {
                return Some(client);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(in crate::upstream) fn keep_idle(self: &Rc<Self>, mut client: Box<Http1Client>) {
        if client.connection.is_expired() {
            return;
        }
        let watch = self.idle_watch.borrow().clone();
        if let Some(waker) = &watch
            && client.poll_idle(&mut Context::from_waker(waker)).is_ready()
        {
            return;
        }
        let first = {
            let mut idle = self.idle.borrow_mut();
            idle.push_back(Idle { client, since: Instant::now() });
            idle.len() == 1
        };
        match watch {
            // It sleeps for as long as nothing is idle.
            Some(waker) if first => waker.wake(),
            Some(_) => {}
            None => {
                tokio::task::spawn_local(watch_idle(Rc::downgrade(self)));
            }
        }
    }

    /// Lets go of connections that ended, and of those that were idle for too long.
    fn poll_idle(&self, cx: &mut Context<'_>) {
        let mut kept = VecDeque::new();
        let mut gone = Vec::new();
        for mut idle in std::mem::take(&mut *self.idle.borrow_mut()) {
            if idle.client.poll_idle(cx).is_ready() {
                gone.push(idle);
            } else if self.settings.common.idle_timeout.is_some_and(|timeout| idle.since.elapsed() >= timeout)
            {
                idle.client.connection.cluster.stats.upstream_cx_idle_timeout.inc();
                gone.push(idle);
            } else if idle.client.connection.is_expired() {
                gone.push(idle);
            } else {
                kept.push_back(idle);
            }
        }
        *self.idle.borrow_mut() = kept;
        drop(gone);
    }

    /// When the first of them will have been idle for too long, or be too old.
    fn idle_deadline(&self) -> Option<Instant> {
        let idle = self.idle.borrow();
        let first = idle.front()?;
        let idle_end = self.settings.common.idle_timeout.map(|timeout| first.since + timeout);
        let expiry = idle.iter().filter_map(|idle| idle.client.connection.expires).min();
        idle_end.into_iter().chain(expiry).min()
    }
}

/// Watches a pool's idle connections, until the pool is gone. One task for all of them: a request costs it nothing.
async fn watch_idle(pool: Weak<Pool>) {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_draining()) else { return Poll::Ready(()) };
        pool.idle_watch.replace(Some(cx.waker().clone()));
        loop {
            pool.poll_idle(cx);
            let Some(deadline) = pool.idle_deadline() else {
                timer = None;
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
