//! What Envoy's own tests check of its user-space socket, line by line, for ours.

mod closing;
mod interleaving;
mod transfer;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::io::Io;

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Task {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn small_pair(buffer_size: usize) -> (UserSpaceSocket, UserSpaceSocket) {
    pair(PairOptions::new(Address::internal("inner", "ep1")).with_buffer_size(buffer_size))
}

fn poll_read_as(task: &Arc<Task>, end: &mut UserSpaceSocket, max: usize) -> Poll<io::Result<Vec<u8>>> {
    let waker = Waker::from(Arc::clone(task));
    let mut memory = vec![0; max];
    let mut buf = ReadBuf::new(&mut memory);
    let result = Pin::new(end).poll_read(&mut Context::from_waker(&waker), &mut buf);
    result.map_ok(|()| buf.filled().to_vec())
}

fn poll_read(end: &mut UserSpaceSocket, max: usize) -> Poll<io::Result<Vec<u8>>> {
    poll_read_as(&Task::new(), end, max)
}

fn poll_write_as(task: &Arc<Task>, end: &mut UserSpaceSocket, bytes: &[u8]) -> Poll<io::Result<usize>> {
    let waker = Waker::from(Arc::clone(task));
    Pin::new(end).poll_write(&mut Context::from_waker(&waker), bytes)
}

fn poll_write(end: &mut UserSpaceSocket, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll_write_as(&Task::new(), end, bytes)
}

fn with_context<T>(f: impl FnOnce(&mut Context<'_>) -> T) -> T {
    f(&mut Context::from_waker(Waker::noop()))
}

/// Reads what is there now.
fn read(end: &mut UserSpaceSocket, max: usize) -> Vec<u8> {
    match poll_read(end, max) {
        Poll::Ready(Ok(bytes)) => bytes,
        other => panic!("expected bytes, got {other:?}"),
    }
}

/// How reading fails.
fn read_error(end: &mut UserSpaceSocket) -> io::ErrorKind {
    match poll_read(end, 1) {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("expected an error, got {other:?}"),
    }
}

/// How writing fails.
fn write_error(end: &mut UserSpaceSocket) -> io::ErrorKind {
    match poll_write(end, b"x") {
        Poll::Ready(Err(error)) => error.kind(),
        other => panic!("expected an error, got {other:?}"),
    }
}

/// Writes what must fit.
fn write(end: &mut UserSpaceSocket, bytes: &[u8]) {
    assert!(matches!(poll_write(end, bytes), Poll::Ready(Ok(n)) if n == bytes.len()));
}

fn write_bytes(end: &mut UserSpaceSocket, bytes: &mut Bytes) -> Poll<io::Result<usize>> {
    with_context(|cx| end.poll_write_bytes(cx, bytes))
}

fn shutdown(end: &mut UserSpaceSocket) {
    assert!(matches!(with_context(|cx| Pin::new(end).poll_shutdown(cx)), Poll::Ready(Ok(()))));
}

/// Writes until nothing more is taken, and says how much was.
fn fill(end: &mut UserSpaceSocket) -> usize {
    let mut total = 0;
    while let Poll::Ready(written) = poll_write(end, &[7; 1000]) {
        total += written.unwrap();
    }
    total
}

/// Bytes whose memory is gone when nobody else holds the `Arc`.
fn tracked_bytes(len: usize) -> (Bytes, Arc<()>) {
    struct Owner {
        memory: Vec<u8>,
        _alive: Arc<()>,
    }
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.memory
        }
    }
    let alive = Arc::new(());
    (Bytes::from_owner(Owner { memory: vec![1; len], _alive: Arc::clone(&alive) }), alive)
}

#[test]
fn a_pair_is_small() {
    // One for each internal hop of each connection; grow it knowingly.
    let sizes = [("an end", size_of::<UserSpaceSocket>(), 16), ("what both share", size_of::<Shared>(), 208)];
    for (what, size, limit) in sizes {
        assert!(size <= limit, "{what} takes {size} bytes");
    }
}
