//! One end of a pair, and what both share.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop;

use super::direction::{Direction, Readable, Writer};
use super::fusion::{Link, Met};
use super::queue::Queue;
use super::{PairOptions, Refusal};
use crate::address::{Address, InternalAddress, SHARED_INTERNAL_CLIENT};
use crate::stream_info::Passthrough;

/// One end of a connection inside the process. Made by [`pair`](super::pair); it stays on the thread that made it.
///
/// Like every `AsyncRead + AsyncWrite` it remembers one task that waits to read and one that waits to write.
pub struct UserSpaceSocket {
    pub(super) shared: Rc<Shared>,
    pub(super) end: End,
}

/// Which end of the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
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

/// What the two ends have in common. Borrows are short, and nothing that may call back happens under one.
pub(super) struct Shared {
    to_server: RefCell<Direction>,
    to_client: RefCell<Direction>,
    pub(super) link: RefCell<Link>,
    /// What the client left: how many listeners it came through, and in a box what few connections have.
    hops: Cell<u32>,
    passthrough: Cell<Option<Box<Passthrough>>>,
    /// Whether what serves the connection is connected upstream.
    established: Cell<bool>,
    /// Whether the client's end is read as soon as it is connected.
    client_reads: Cell<bool>,
    /// Whether a proxy behind the pair is being asked for a tunnel.
    pub(super) tunnel_asked: Cell<bool>,
    /// Why it refused. Few ever need the memory.
    pub(super) refusal: OnceCell<Box<Refusal>>,
    /// If it is another than that of all others.
    client_address: Option<Box<Address>>,
    server_address: ServerAddress,
}

/// Stands for no number of listeners: nothing was left.
const NOT_LEFT: u32 = u32::MAX;

/// The address of the server end, which is nearly always of one kind.
enum ServerAddress {
    Internal(Arc<InternalAddress>),
    Other(Box<Address>),
}

impl From<Address> for ServerAddress {
    fn from(address: Address) -> Self {
        match address {
            Address::Internal(address) => Self::Internal(address),
            other => Self::Other(Box::new(other)),
        }
    }
}

impl Shared {
    pub(super) fn new(options: PairOptions) -> Self {
        let client_address = options.client_address;
        Self {
            to_server: RefCell::new(Direction::new(options.buffer_size)),
            to_client: RefCell::new(Direction::new(options.buffer_size)),
            link: RefCell::default(),
            hops: Cell::new(NOT_LEFT),
            passthrough: Cell::new(None),
            established: Cell::new(false),
            client_reads: Cell::new(false),
            tunnel_asked: Cell::new(false),
            refusal: OnceCell::new(),
            client_address: (client_address != *SHARED_INTERNAL_CLIENT).then(|| Box::new(client_address)),
            server_address: options.server_address.into(),
        }
    }

    fn address_of(&self, end: End) -> Address {
        match end {
            End::Client => Address::clone(self.client_address.as_deref().unwrap_or(&SHARED_INTERNAL_CLIENT)),
            End::Server => match &self.server_address {
                ServerAddress::Internal(address) => Address::Internal(Arc::clone(address)),
                ServerAddress::Other(address) => Address::clone(address),
            },
        }
    }

    pub(super) fn written_by(&self, end: End) -> &RefCell<Direction> {
        match end {
            End::Client => &self.to_server,
            End::Server => &self.to_client,
        }
    }
}

pub(super) fn wake(waker: Option<Waker>) {
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
    pub fn local_address(&self) -> Address {
        self.shared.address_of(self.end)
    }

    /// Where the other end is.
    pub fn remote_address(&self) -> Address {
        self.shared.address_of(self.end.other())
    }

    /// Whether the listener's side has all that it needs to carry bytes: a relay has its upstream connection. Whoever connects
    /// need not wait any longer then. It is told by waking who waits for the [peer to be gone](crate::io::Io::poll_peer_gone).
    pub fn is_established(&self) -> bool {
        self.shared.established.get()
    }

    /// Promises that this end, the client's, is read from as soon as it is [established](Self::is_established), whatever happens: a relay
    /// behind the pair need not look for bytes itself then.
    pub fn promise_to_read(&self) {
        self.shared.client_reads.set(true);
    }

    /// Whether the client's end has promised that.
    pub(crate) fn client_reads(&self) -> bool {
        self.shared.client_reads.get()
    }

    /// Tells the client's end that there is an upstream connection.
    pub(crate) fn note_established(&self) {
        if !self.shared.established.replace(true) {
            self.reads().borrow_mut().wake_writer();
        }
    }

    /// Leaves `passthrough` for the listener to take at accept. Replaces what was left before.
    pub fn set_passthrough(&self, passthrough: Passthrough) {
        self.shared.hops.set(passthrough.internal_hops.min(NOT_LEFT - 1));
        let is_plain = passthrough.metadata.is_empty() && passthrough.filter_state.is_empty();
        self.shared.passthrough.set((!is_plain).then(|| Box::new(passthrough)));
    }

    /// Takes what the client side left, the first time.
    pub fn take_passthrough(&self) -> Option<Passthrough> {
        let internal_hops = self.shared.hops.replace(NOT_LEFT);
        if internal_hops == NOT_LEFT {
            return None;
        }
        let passthrough = self.shared.passthrough.take().map(|passthrough| *passthrough);
        Some(Passthrough { internal_hops, ..passthrough.unwrap_or_default() })
    }

    /// How many bytes wait to be read at this end.
    pub fn unread(&self) -> usize {
        self.reads().borrow().queue.len()
    }

    /// How many bytes of memory the direction towards this end holds.
    pub fn held(&self) -> usize {
        self.reads().borrow().queue.held()
    }

    pub(super) fn writes(&self) -> &RefCell<Direction> {
        self.shared.written_by(self.end)
    }

    pub(super) fn reads(&self) -> &RefCell<Direction> {
        self.shared.written_by(self.end.other())
    }

    /// Ready with whether there are bytes to read; if not, it is the end of the stream.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let progress = ready!(coop::poll_proceed(cx));
        let readable = ready!(self.reads().borrow_mut().poll_readable(cx))?;
        progress.made_progress();
        Poll::Ready(match readable {
            Readable::Bytes => Ok(true),
            Readable::End => Ok(false),
            // Whoever has finished writing misses nothing when the other end goes.
            Readable::Gone if self.writes().borrow().writer == Writer::Finished => Ok(false),
            Readable::Gone => Err(io::ErrorKind::ConnectionReset.into()),
        })
    }

    /// Runs `take` on the queue that this end reads and wakes the writer if that drained it.
    pub(super) fn take<T>(&self, take: impl FnOnce(&mut Queue) -> (T, bool)) -> T {
        let mut direction = self.reads().borrow_mut();
        let (taken, drained) = take(&mut direction.queue);
        let writer = direction.writer_to_wake(drained);
        drop(direction);
        wake(writer);
        taken
    }

    /// Runs `push` on the queue that this end writes and wakes the reader.
    pub(super) fn poll_push(
        &self,
        cx: &mut Context<'_>,
        push: impl FnOnce(&mut Queue) -> usize,
    ) -> Poll<io::Result<usize>> {
        let progress = ready!(coop::poll_proceed(cx));
        let mut direction = self.writes().borrow_mut();
        ready!(direction.poll_writable(cx))?;
        let n = push(&mut direction.queue);
        let reader = direction.reader_to_wake();
        drop(direction);
        progress.made_progress();
        wake(reader);
        Poll::Ready(Ok(n))
    }

    /// This end takes no more part: its writes end as `how`, its reads are over.
    pub(super) fn leave(&self, how: Writer) {
        match self.end {
            End::Client => self.part(Met::Nothing),
            End::Server => drop(self.part_now()),
        }
        let reader = self.writes().borrow_mut().end_writes(how);
        let (unread, writer) = self.reads().borrow_mut().end_reads();
        drop(unread);
        wake(reader);
        wake(writer);
    }
}

impl Drop for UserSpaceSocket {
    fn drop(&mut self) {
        self.leave(Writer::Gone);
    }
}

impl fmt::Debug for UserSpaceSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSpaceSocket")
            .field("local_address", &self.local_address())
            .field("remote_address", &self.remote_address())
            .field("unread", &self.unread())
            .finish_non_exhaustive()
    }
}
