//! Chains of relays with hop fusion, held against the same chains without: what both ends see, how every relay ends, and what
//! each has counted.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout_at};

use super::*;

/// More than is ever sent.
const EVERYTHING: usize = 16 << 20;

/// What somebody at one of the two ends does.
#[derive(Debug, Clone)]
enum Step {
    Write(Side, usize),
    /// Reads what is there, at most so many bytes.
    Read(Side, usize),
    Shutdown(Side),
    Reset(Side),
    Close(Side),
    Wait(Duration),
    /// A hop is dropped, as a listener that has drained long enough does.
    Cut(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![Just(Side::Downstream), Just(Side::Upstream)];
    let length = || prop_oneof![4 => 1..40_usize, 4 => 1..3000_usize, 1 => 1..60_000_usize];
    prop_oneof![
        16 => (side(), length()).prop_map(|(side, n)| Step::Write(side, n)),
        16 => (side(), length()).prop_map(|(side, n)| Step::Read(side, n)),
        3 => side().prop_map(Step::Shutdown),
        1 => side().prop_map(Step::Reset),
        1 => side().prop_map(Step::Close),
        4 => (10..400_u64).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        1 => (0..4_usize).prop_map(Step::Cut),
    ]
}

#[derive(Debug, Clone)]
struct Script {
    /// Of each relay; there is a hop between two of them.
    idle_timeouts: Vec<Option<Duration>>,
    /// Of the queues of the hops, and of everything outside.
    buffer_size: usize,
    relay_limit: usize,
    /// Whether both ends read whatever comes, and not only when a step says so.
    reads_always: bool,
    steps: Vec<Step>,
}

fn script(buffer_size: impl Strategy<Value = usize>, reads_always: bool) -> impl Strategy<Value = Script> {
    let timeout = prop_oneof![
        4 => Just(None),
        2 => Just(Some(Duration::from_millis(300))),
        1 => Just(Some(Duration::from_millis(500))),
    ];
    let limits = prop_oneof![Just(1 << 20), Just(16 * 1024), Just(1000)];
    (prop::collection::vec(timeout, 2..5), buffer_size, limits, prop::collection::vec(step(), 1..30))
        .prop_map(move |(idle_timeouts, buffer_size, relay_limit, steps)| Script {
            idle_timeouts,
            buffer_size,
            relay_limit,
            reads_always,
            steps,
        })
}

/// One end of the chain, as somebody uses it.
struct Far {
    io: Option<BoxIo>,
    sent: usize,
    received: Vec<u8>,
    end: Option<io::ErrorKind>,
    has_ended: bool,
}

impl Far {
    fn new(io: BoxIo) -> Self {
        Self { io: Some(io), sent: 0, received: Vec::new(), end: None, has_ended: false }
    }

    /// Writes as much of `n` bytes as is taken at once.
    async fn write(&mut self, n: usize) -> Result<usize, io::ErrorKind> {
        let Some(io) = &mut self.io else { return Ok(0) };
        let bytes: Vec<u8> = (self.sent..self.sent + n).map(pattern).collect();
        let written = poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut *io).poll_write(cx, &bytes) {
                Poll::Ready(result) => result.map_err(|error| error.kind()),
                Poll::Pending => Ok(0),
            })
        })
        .await?;
        self.sent += written;
        Ok(written)
    }

    fn note(&mut self, read: io::Result<()>, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        match read {
            Ok(()) if bytes.is_empty() => self.has_ended = true,
            Ok(()) => {}
            Err(error) => (self.has_ended, self.end) = (true, Some(error.kind())),
        }
    }

    /// Waits for something to read, and reads it.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(io) = self.io.as_mut().filter(|_| !self.has_ended) else { return Poll::Pending };
        let mut memory = [0; 4096];
        let mut buf = ReadBuf::new(&mut memory);
        let read = ready!(Pin::new(io).poll_read(cx, &mut buf));
        self.note(read, buf.filled());
        Poll::Ready(())
    }

    /// Reads what is there, at most `max` bytes.
    async fn read(&mut self, max: usize) {
        let mut memory = vec![0; max];
        // What ends behind several hops comes hop by hop to somebody who waits for it.
        let mut waits = 0;
        while !self.has_ended && !memory.is_empty() {
            let Some(io) = &mut self.io else { return };
            let mut buf = ReadBuf::new(&mut memory);
            let read = poll_fn(|cx| {
                Poll::Ready(match Pin::new(&mut *io).poll_read(cx, &mut buf) {
                    Poll::Ready(result) => Some(result),
                    Poll::Pending => None,
                })
            })
            .await;
            let n = buf.filled().len();
            match read {
                None if waits == 10 => break,
                None => waits += 1,
                Some(read) => self.note(read, &memory[..n]),
            }
            memory.truncate(memory.len() - n);
            // Whoever was woken by this has its turn.
            settle().await;
        }
    }
}

/// Lets time pass. Whoever reads always is woken by what comes meanwhile, as the owner of a socket is.
async fn wait(time: Duration, ends: &mut [Far; 2], reads_always: bool) {
    if !reads_always {
        return sleep(time).await;
    }
    let end = Instant::now() + time;
    loop {
        let something = poll_fn(|cx| {
            let polled = ends.each_mut().map(|end| end.poll_take(cx));
            if polled.iter().any(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
        });
        if timeout_at(end, something).await.is_err() {
            return;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder fits")]
fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// All that can be seen.
#[derive(Debug, PartialEq)]
struct Seen {
    writes: Vec<Result<usize, io::ErrorKind>>,
    /// What came to the client and to the server, how much of it there was, and how it ended.
    received: [(usize, bool, Option<io::ErrorKind>); 2],
    endings: Vec<Option<Ending>>,
    bytes: Vec<[u64; 4]>,
    ends: Vec<Vec<String>>,
}

struct Hop {
    heard: Rc<Heard>,
    running: JoinHandle<Ending>,
}

fn start(mut downstream: BoxIo, mut upstream: BoxIo, options: RelayOptions) -> Hop {
    let heard = Rc::<Heard>::default();
    let accounting = Rc::clone(&heard);
    let running = spawn_local(async move {
        let end = relay(&mut downstream, &mut upstream, options, accounting as _).await;
        // As the TCP proxy does: a reset is passed on.
        if let RelayEnd::Failed { side, error, .. } = &end
            && error.kind() == io::ErrorKind::ConnectionReset
        {
            let other = if *side == Side::Downstream { &mut upstream } else { &mut downstream };
            other.reset();
        }
        Ending::from(end)
    });
    Hop { heard, running }
}

/// As whoever connects for a relay does.
fn promise_to_read(client: &mut BoxIo) {
    client.user_space_socket().unwrap().promise_to_read();
}

async fn play(script: &Script, fuse_hops: bool) -> Seen {
    let (client, server) = (user_space(script.buffer_size), user_space(script.buffer_size));
    let mut downstream = client.near;
    let mut hops = Vec::new();
    for (at, idle_timeout) in script.idle_timeouts.iter().enumerate() {
        let is_last = at + 1 == script.idle_timeouts.len();
        let options = RelayOptions {
            idle_timeout: *idle_timeout,
            upstream_buffer_limit: script.relay_limit,
            downstream_buffer_limit: script.relay_limit,
            fuse_hops,
            ..RelayOptions::default()
        };
        if is_last {
            hops.push(start(downstream, server.near, options));
            break;
        }
        let mut hop = user_space(script.buffer_size);
        promise_to_read(&mut hop.far);
        hops.push(start(downstream, hop.far, options));
        downstream = hop.near;
    }
    let mut ends = [Far::new(client.far), Far::new(server.far)];
    let writes = run_steps(script, &mut ends, &hops).await;
    for end in &mut ends {
        end.read(EVERYTHING).await;
    }
    let received = [0, 1].map(|at: usize| {
        let end = &ends[at];
        let in_order = end.received.iter().enumerate().all(|(at, byte)| *byte == pattern(at));
        assert!(in_order && end.received.len() <= ends[1 - at].sent, "bytes were lost or doubled");
        (end.received.len(), end.has_ended, end.end)
    });
    for end in ends {
        drop(end);
        settle().await;
    }
    sleep(Duration::from_secs(2)).await;
    let mut endings = Vec::new();
    for hop in &mut hops {
        assert!(hop.running.is_finished(), "a relay goes on although both ends are gone");
        endings.push((&mut hop.running).await.ok());
    }
    let ends_of = |hop: &Hop| {
        let events = hop.heard.events.borrow();
        events.iter().filter(|event| event.ends_with("ended")).cloned().collect()
    };
    Seen {
        writes,
        received,
        endings,
        bytes: hops.iter().map(|hop| hop.heard.bytes()).collect(),
        ends: hops.iter().map(ends_of).collect(),
    }
}

async fn run_steps(script: &Script, ends: &mut [Far; 2], hops: &[Hop]) -> Vec<Result<usize, io::ErrorKind>> {
    let at = |side: &Side| usize::from(*side == Side::Upstream);
    let mut writes = Vec::new();
    settle().await;
    for step in &script.steps {
        match step {
            Step::Write(side, n) => writes.push(ends[at(side)].write(*n).await),
            Step::Read(side, n) => ends[at(side)].read(*n).await,
            Step::Shutdown(side) => {
                if let Some(io) = &mut ends[at(side)].io {
                    let _ = io.shutdown().await;
                }
            }
            Step::Reset(side) => {
                if let Some(mut io) = ends[at(side)].io.take() {
                    io.reset();
                }
            }
            Step::Close(side) => drop(ends[at(side)].io.take()),
            Step::Wait(time) => wait(*time, ends, script.reads_always).await,
            Step::Cut(hop) => {
                if let Some(hop) = hops.get(*hop) {
                    hop.running.abort();
                }
            }
        }
        settle().await;
        if script.reads_always {
            for end in &mut *ends {
                end.read(EVERYTHING).await;
            }
        }
    }
    writes
}

fn see(script: &Script, fuse_hops: bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(LocalSet::new().run_until(play(script, fuse_hops)))
}

/// Messages and a half-close pass through a hop without its relay, which runs once to park and once to end.
#[tokio::test]
async fn a_parked_relay_rests_until_both_ends_have_finished() {
    let (mut client, mut hop, mut origin) = (tcp().await, user_space(1024), tcp().await);
    promise_to_read(&mut hop.far);
    let polls = Rc::new(Cell::new(0));
    let counted = Rc::clone(&polls);
    let test = async {
        let heard = Rc::<Heard>::default();
        let accounting = Rc::clone(&heard);
        let (mut downstream, mut upstream) = (hop.near, origin.near);
        let inner = spawn_local(async move {
            let relay = relay(&mut downstream, &mut upstream, RelayOptions::default(), accounting as _);
            let mut relay = std::pin::pin!(relay);
            let counting = poll_fn(|cx| {
                counted.set(counted.get() + 1);
                relay.as_mut().poll(cx)
            });
            Ending::from(counting.await)
        });
        let outer = start(client.near, hop.far, RelayOptions::default());
        let mut text = [0; 4];
        for _message in 0..3 {
            client.far.write_all(b"ping").await.unwrap();
            origin.far.read_exact(&mut text).await.unwrap();
            origin.far.write_all(b"pong").await.unwrap();
            client.far.read_exact(&mut text).await.unwrap();
        }
        client.far.shutdown().await.unwrap();
        assert_eq!(origin.far.read(&mut text).await.unwrap(), 0);
        assert_eq!(polls.get(), 1);
        origin.far.write_all(b"last").await.unwrap();
        client.far.read_exact(&mut text).await.unwrap();
        assert_eq!(polls.get(), 1);

        drop(origin.far);
        assert_eq!(client.far.read(&mut text).await.unwrap(), 0);
        assert_eq!(inner.await.unwrap(), Ending::Finished(Side::Downstream));
        assert_eq!(outer.running.await.unwrap(), Ending::Finished(Side::Downstream));
        assert_eq!(polls.get(), 2);
        assert_eq!(
            (heard.bytes(), heard.events.take()),
            ([12, 12, 16, 16], vec!["Downstream ended".to_owned(), "Upstream ended".to_owned(),])
        );
    };
    LocalSet::new().run_until(test).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Where whoever is sent something takes it, nothing can be told apart.
    #[test]
    fn a_fused_chain_cannot_be_told_from_one_that_is_not(script in script(Just(64 << 20), true)) {
        prop_assert_eq!(see(&script, true), see(&script, false));
    }

    /// Where it does not, how much is on its way differs, but not one byte is lost, doubled or out of order, and every relay
    /// ends.
    #[test]
    fn a_fused_chain_with_small_buffers_keeps_every_byte(script in script(600..5000_usize, false)) {
        see(&script, true);
    }
}
