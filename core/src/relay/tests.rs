//! A relay between real sockets, and between user-space sockets where time or memory must be exact.

mod endings;
mod fusion;
mod limits;
mod splicing;
mod transfer;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::address::Address;
use crate::user_space_socket::{PairOptions, pair};

/// Something connected: the end that a test plays, and the end that the relay holds.
struct Wire {
    far: BoxIo,
    near: BoxIo,
}

async fn tcp() -> Wire {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (far, near) = tokio::join!(client, listener.accept());
    Wire { far: Box::new(far.unwrap()), near: Box::new(near.unwrap().0) }
}

fn user_space(buffer_size: usize) -> Wire {
    let (far, near) = pair(PairOptions::new(Address::internal("inner", "")).with_buffer_size(buffer_size));
    Wire { far: Box::new(far), near: Box::new(near) }
}

/// Splices every byte that it can, through pipes of this size.
fn all_spliced(pipe_size: usize) -> RelayOptions {
    let splice = SpliceOptions { large_piece: 1, after_pieces: 0, small_piece: 0, pipe_size };
    RelayOptions { pool: BufferPool::with_splice(Some(splice)), ..RelayOptions::default() }
}

/// One that never splices, and one that always does.
fn copied_and_spliced() -> [RelayOptions; 2] {
    [RelayOptions::default(), all_spliced(1024 * 1024)]
}

/// Byte counts, and everything else in the order in which it was told.
#[derive(Default)]
struct Heard {
    counts: RelayCounts,
    events: RefCell<Vec<String>>,
}

impl Heard {
    fn note(&self, event: impl Into<String>) {
        self.events.borrow_mut().push(event.into());
    }

    /// Bytes as (downstream read, upstream written, upstream read, downstream written).
    fn bytes(&self) -> [u64; 4] {
        let counts = &self.counts;
        [&counts.downstream_read, &counts.upstream_written, &counts.upstream_read, &counts.downstream_written]
            .map(Cell::get)
    }
}

impl Accounting for Heard {
    fn downstream_read(&self, n: u64) {
        self.counts.downstream_read(n);
    }

    fn downstream_written(&self, n: u64) {
        self.counts.downstream_written(n);
    }

    fn upstream_read(&self, n: u64) {
        self.counts.upstream_read(n);
    }

    fn upstream_written(&self, n: u64) {
        self.counts.upstream_written(n);
    }

    fn paused_reading(&self, side: Side) {
        self.note(format!("{side:?} paused"));
    }

    fn resumed_reading(&self, side: Side) {
        self.note(format!("{side:?} resumed"));
    }

    fn ended(&self, side: Side) {
        self.note(format!("{side:?} ended"));
    }

    fn upstream_flush_started(&self) {
        self.note("flush started");
    }

    fn upstream_flush_finished(&self) {
        self.note("flush finished");
    }
}

/// How a relay ended, without the text of the error.
#[derive(Debug, PartialEq)]
enum Ending {
    Finished(Side),
    Failed(Side, Operation, io::ErrorKind),
    FailedAfterEnd(Side, Operation, io::ErrorKind),
    IdleTimeout,
    DurationTimeout,
}

impl From<RelayEnd> for Ending {
    fn from(end: RelayEnd) -> Self {
        match end {
            RelayEnd::Finished { first } => Self::Finished(first),
            RelayEnd::Failed { side, operation, error, after_end: false } => {
                Self::Failed(side, operation, error.kind())
            }
            RelayEnd::Failed { side, operation, error, after_end: true } => {
                Self::FailedAfterEnd(side, operation, error.kind())
            }
            RelayEnd::IdleTimeout => Self::IdleTimeout,
            RelayEnd::DurationTimeout => Self::DurationTimeout,
        }
    }
}

/// Runs a relay between two wires while `play` has their far ends.
async fn run<T>(
    mut client: Wire,
    mut server: Wire,
    options: RelayOptions,
    heard: &Rc<Heard>,
    play: impl AsyncFnOnce(BoxIo, BoxIo) -> T,
) -> (Ending, T) {
    let relay = async {
        let end = relay(&mut client.near, &mut server.near, options, Rc::clone(heard) as _).await;
        // As a terminal filter does: a failure of one side resets the other.
        if let RelayEnd::Failed { side, .. } = end {
            let other = if side == Side::Downstream { &mut server.near } else { &mut client.near };
            other.reset();
        }
        drop((client.near, server.near));
        Ending::from(end)
    };
    tokio::join!(relay, play(client.far, server.far))
}

async fn read_to_end(io: &mut BoxIo) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    io.read_to_end(&mut all).await?;
    Ok(all)
}

/// Everything up to the end, however it ends.
async fn read_what_comes(io: &mut BoxIo) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut all = Vec::new();
    let end = io.read_to_end(&mut all).await;
    (all, end.err().map(|error| error.kind()))
}

async fn read_text(io: &mut BoxIo, len: usize) -> String {
    let mut memory = vec![0; len];
    io.read_exact(&mut memory).await.unwrap();
    String::from_utf8(memory).unwrap()
}

/// Lets everything that can happen happen, short of time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Writes until nothing more is taken, and says how much was.
async fn push_until_blocked(io: &mut BoxIo) -> usize {
    let mut pushed = 0;
    let push = async {
        loop {
            pushed += io.write(&[1; 1000]).await.unwrap();
        }
    };
    tokio::select! { biased; () = push => {}, () = settle() => {} }
    pushed
}
