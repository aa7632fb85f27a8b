//! Accepting: a task per worker and listening socket.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    net::{TcpListener, UnixListener},
    task::AbortHandle,
};
use underpass_core::address::Address;

use super::{
    active_listener::ActiveListener,
    raw_connection::KernelStream,
    socket::{ListenSocket, canonical},
};

/// So many connections at most are accepted in a row, whatever the configuration says: those before want to be served.
const MAX_BATCH: u32 = 64;

/// How long nothing is accepted after a failure for want of descriptors or memory: at first, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Accepts on one worker's socket until it is dropped.
pub(crate) struct Acceptor {
    /// Who serves what is accepted. An update puts the next version's listener here, and no connection is lost.
    target: Rc<RefCell<Rc<ActiveListener>>>,
    task: AbortHandle,
}

impl Acceptor {
    /// Begins to accept. To be called on the worker's thread, in its runtime.
    pub(crate) fn start(socket: Arc<ListenSocket>, listener: Rc<ActiveListener>) -> io::Result<Self> {
        let incoming = Incoming::on(&socket, listener.worker().index())?;
        let target = Rc::new(RefCell::new(listener));
        let task = tokio::task::spawn_local(accept(incoming, socket, Rc::clone(&target)));
        Ok(Self { target, task: task.abort_handle() })
    }

    /// Gives what is accepted from now on to another listener.
    pub(crate) fn retarget(&self, listener: &Rc<ActiveListener>) {
        *self.target.borrow_mut() = Rc::clone(listener);
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A listening socket as this worker's runtime watches it.
enum Incoming {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Incoming {
    fn on(socket: &ListenSocket, worker: usize) -> io::Result<Self> {
        // Several workers may watch one socket; each needs a descriptor of its own for that.
        let descriptor = socket.for_worker(worker).try_clone()?;
        match socket.address() {
            Address::Socket(_) => Ok(Self::Tcp(TcpListener::from_std(descriptor.into())?)),
            _ => Ok(Self::Unix(UnixListener::from_std(descriptor.into())?)),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(KernelStream, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| (KernelStream::Tcp(stream), Some(peer)))
            }
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| (KernelStream::Unix(stream), None))
            }
        }
    }
}

async fn accept(incoming: Incoming, socket: Arc<ListenSocket>, target: Rc<RefCell<Rc<ActiveListener>>>) {
    let mut pause = BACK_OFF.0;
    loop {
        let failure = poll_fn(|cx| poll_batch(cx, &incoming, &socket, &target)).await;
        match failure {
            Ok(()) => pause = BACK_OFF.0,
            // The listener manager has closed it.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => return,
            Err(error) => {
                // The socket stays readable, so without a pause this would be a busy loop.
                target.borrow().cannot_accept(&error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Accepts what is there, but not too much of it, and nothing before this worker has heard of all changes. Pending if
/// there was nothing.
fn poll_batch(
    cx: &mut Context<'_>,
    incoming: &Incoming,
    socket: &ListenSocket,
    target: &RefCell<Rc<ActiveListener>>,
) -> Poll<io::Result<()>> {
    let listener = Rc::clone(&target.borrow());
    if listener.is_outdated() {
        return Poll::Ready(Ok(()));
    }
    let most = listener.max_accepts_per_event().min(MAX_BATCH);
    let mut accepted = 0;
    let outcome = loop {
        match incoming.poll_accept(cx) {
            Poll::Ready(Ok((stream, peer))) => {
                accepted += 1;
                if let Some((local, remote)) = addresses(socket, &stream, peer) {
                    listener.accept(stream, local, remote);
                }
                if accepted == most {
                    break Poll::Ready(Ok(()));
                }
            }
            Poll::Ready(Err(error)) if concerns_one_connection(&error) => {}
            Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
            Poll::Pending => break Poll::Pending,
        }
    };
    listener.record_accepted(accepted);
    outcome
}

/// Errors of a connection that was gone before it was accepted (accept(2), "Error handling").
fn concerns_one_connection(error: &io::Error) -> bool {
    let one = [
        libc::ECONNABORTED,
        libc::EINTR,
        libc::EPERM,
        libc::EPROTO,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::ENONET,
        libc::ENOPROTOOPT,
    ];
    error.raw_os_error().is_some_and(|number| one.contains(&number))
}

/// This end and the peer's; `None` if the connection is gone already.
fn addresses(
    socket: &ListenSocket,
    stream: &KernelStream,
    peer: Option<SocketAddr>,
) -> Option<(Address, Address)> {
    let (Address::Socket(at), KernelStream::Tcp(stream)) = (socket.address(), stream) else {
        // A client of a pipe has no name as a rule, so, as in Envoy, the listener's stands for it.
        return Some((socket.address().clone(), socket.address().clone()));
    };
    let local = if at.ip().is_unspecified() { stream.local_addr().ok()? } else { *at };
    Some((canonical(local).into(), canonical(peer?).into()))
}
