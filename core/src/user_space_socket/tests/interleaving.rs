//! Random interleavings of everything two ends can do, held against a model: no byte is lost, doubled or out of order,
//! endings come exactly as they should, memory stays bounded, and whoever waits is woken.

use std::io::IoSlice;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    WriteVectored(Vec<usize>),
    WriteBytes(usize),
    Read(usize),
    ReadBytes(usize),
    Peek(usize),
    Shutdown,
    Reset,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let length = || prop_oneof![4 => 0..20_usize, 4 => 0..3000_usize, 1 => 0..40_000_usize];
    prop_oneof![
        12 => length().prop_map(Step::Write),
        6 => prop::collection::vec(length(), 0..5).prop_map(Step::WriteVectored),
        8 => length().prop_map(Step::WriteBytes),
        16 => length().prop_map(Step::Read),
        8 => length().prop_map(Step::ReadBytes),
        4 => length().prop_map(Step::Peek),
        2 => Just(Step::Shutdown),
        1 => Just(Step::Reset),
        1 => Just(Step::Close),
    ]
}

/// One direction as it should be: the bytes are a running count, so their number is all there is to know.
#[derive(Default)]
struct Model {
    written: usize,
    read: usize,
    finished: bool,
    reset: bool,
    closed: bool,
    reader_gone: bool,
}

/// What a read should find.
#[derive(Debug, PartialEq)]
enum Expected {
    Bytes,
    Wait,
    End,
    Error(io::ErrorKind),
}

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// A wait for one kind of readiness: the task, and how often it had been woken when it began to wait.
#[derive(Default)]
struct Wait {
    task: Arc<Task>,
    since: Option<usize>,
}

impl Wait {
    /// Notes how a poll as this task went: one that is ready after a wait must have been preceded by a wake-up.
    fn note(&mut self, pending: bool) {
        if pending {
            self.since = Some(self.task.woken());
        } else if let Some(since) = self.since.take() {
            assert!(self.task.woken() > since, "a wake-up was missed");
        }
    }
}

struct World {
    limit: usize,
    ends: [Option<UserSpaceSocket>; 2],
    /// What end 0 and end 1 write.
    models: [Model; 2],
    readers: [Wait; 2],
    writers: [Wait; 2],
}

impl World {
    fn new(limit: usize) -> Self {
        let (client, server) = small_pair(limit);
        Self {
            limit,
            ends: [Some(client), Some(server)],
            models: Default::default(),
            readers: Default::default(),
            writers: Default::default(),
        }
    }

    fn run(&mut self, at: usize, step: &Step) {
        let Some(mut end) = self.ends[at].take() else { return };
        match step {
            Step::Write(len) => {
                self.write(at, &mut end, *len, |end, cx, data| Pin::new(end).poll_write(cx, data));
            }
            Step::WriteVectored(lens) => self.write(at, &mut end, lens.iter().sum(), |end, cx, mut data| {
                let mut slices = Vec::new();
                for len in lens {
                    let (slice, rest) = data.split_at(*len);
                    slices.push(IoSlice::new(slice));
                    data = rest;
                }
                Pin::new(end).poll_write_vectored(cx, &slices)
            }),
            Step::WriteBytes(len) => self.write(at, &mut end, *len, |end, cx, data| {
                let mut bytes = Bytes::copy_from_slice(data);
                let written = end.poll_write_bytes(cx, &mut bytes);
                if let Poll::Ready(Ok(n)) = written {
                    assert_eq!(bytes, data[n..]);
                }
                written
            }),
            Step::Read(max) => self.read(at, &mut end, *max, true, |end, cx, max| {
                let mut memory = vec![0; max];
                let mut buf = ReadBuf::new(&mut memory);
                Pin::new(end).poll_read(cx, &mut buf).map_ok(|()| buf.filled().to_vec())
            }),
            Step::ReadBytes(max) => self.read(at, &mut end, *max, true, |end, cx, max| {
                end.poll_read_bytes(cx, max).map_ok(|bytes| bytes.to_vec())
            }),
            Step::Peek(max) => self.read(at, &mut end, *max, false, |end, cx, max| {
                let mut memory = vec![0; max];
                let mut buf = ReadBuf::new(&mut memory);
                end.poll_peek(cx, &mut buf).map_ok(|()| buf.filled().to_vec())
            }),
            Step::Shutdown => {
                shutdown(&mut end);
                let model = &mut self.models[at];
                model.finished |= !model.reset && !model.reader_gone;
                self.writers[at].since = None;
            }
            Step::Reset => {
                end.reset();
                self.leave(at);
                self.models[at].reset = true;
            }
            Step::Close => {
                drop(end);
                self.leave(at);
                self.models[at].closed = true;
                return;
            }
        }
        assert!(end.held() <= self.limit, "{} of {} bytes held", end.held(), self.limit);
        self.ends[at] = Some(end);
    }

    fn leave(&mut self, at: usize) {
        self.models[1 - at].reader_gone = true;
        self.readers[at].since = None;
        self.writers[at].since = None;
    }

    fn write(
        &mut self,
        at: usize,
        end: &mut UserSpaceSocket,
        len: usize,
        write: impl FnOnce(&mut UserSpaceSocket, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) {
        let data = pattern(self.models[at].written, len);
        let waker = Waker::from(Arc::clone(&self.writers[at].task));
        let result = write(end, &mut Context::from_waker(&waker), &data);
        if len == 0 {
            assert!(matches!(result, Poll::Ready(Ok(0))));
            return;
        }
        self.writers[at].note(result.is_pending());
        let model = &mut self.models[at];
        let refused = model.finished || model.reset || model.reader_gone;
        match result {
            Poll::Ready(Ok(n)) => {
                assert!(!refused && (1..=len).contains(&n));
                model.written += n;
            }
            Poll::Ready(Err(error)) => assert!(refused && error.kind() == io::ErrorKind::BrokenPipe),
            Poll::Pending => {
                let held = self.ends[1 - at].as_ref().map_or(0, UserSpaceSocket::held);
                assert!(!refused && held > self.limit / 2, "waits with {held} of {} held", self.limit);
            }
        }
    }

    fn read(
        &mut self,
        at: usize,
        end: &mut UserSpaceSocket,
        max: usize,
        takes: bool,
        read: impl FnOnce(&mut UserSpaceSocket, &mut Context<'_>, usize) -> Poll<io::Result<Vec<u8>>>,
    ) {
        let expected = self.expected(at);
        let waker = Waker::from(Arc::clone(&self.readers[at].task));
        let result = read(end, &mut Context::from_waker(&waker), max);
        if max == 0 {
            assert!(matches!(result, Poll::Ready(Ok(bytes)) if bytes.is_empty()));
            return;
        }
        self.readers[at].note(result.is_pending());
        let found = match result {
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => Expected::End,
            Poll::Ready(Ok(bytes)) => {
                let model = &mut self.models[1 - at];
                assert!(bytes.len() <= max && bytes == pattern(model.read, bytes.len()));
                model.read += if takes { bytes.len() } else { 0 };
                Expected::Bytes
            }
            Poll::Ready(Err(error)) => Expected::Error(error.kind()),
            Poll::Pending => Expected::Wait,
        };
        assert_eq!(found, expected);
        assert_eq!(end.unread(), if self.models[1 - at].reader_gone { 0 } else { self.unread(at) });
    }

    fn unread(&self, at: usize) -> usize {
        self.models[1 - at].written - self.models[1 - at].read
    }

    fn expected(&self, at: usize) -> Expected {
        let (own, peer) = (&self.models[at], &self.models[1 - at]);
        if peer.reader_gone {
            Expected::Error(io::ErrorKind::NotConnected)
        } else if self.unread(at) > 0 {
            Expected::Bytes
        } else if peer.reset {
            Expected::Error(io::ErrorKind::ConnectionReset)
        } else if peer.finished || (peer.closed && own.finished) {
            Expected::End
        } else if peer.closed {
            Expected::Error(io::ErrorKind::ConnectionReset)
        } else {
            Expected::Wait
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_loses_a_byte_or_a_wake_up(
        limit in prop_oneof![1..100_usize, 1000..5000_usize, Just(DEFAULT_BUFFER_SIZE)],
        steps in prop::collection::vec((0..2_usize, step()), 1..200),
    ) {
        let mut world = World::new(limit);
        for (at, step) in &steps {
            world.run(*at, step);
        }
        // Whatever was accepted can still be read to the end.
        for at in [0, 1] {
            for _ in 0..10_000 {
                if world.ends[at].is_none() || world.expected(at) != Expected::Bytes {
                    break;
                }
                world.run(at, &Step::Read(50_000));
            }
        }
    }
}
