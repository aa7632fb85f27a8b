//! Load that goes on while something else happens, whose every answer and every byte is checked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What each load thread waits between two steps, so that it leaves the machine to others.
const PAUSE: Duration = Duration::from_millis(5);

const HELD: &str = "no thread of the load panics with the lock held";

/// A client that keeps its connection as long as it may.
#[derive(Debug)]
pub struct Requests {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Requests {
    const SIZE: usize = 2000;

    /// A client of an HTTP listener.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.connection = None;
    }

    /// One request, whose answer must be right; its header `x-version`.
    ///
    /// # Errors
    /// What was wrong.
    pub fn get(&mut self) -> Result<String, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.address).map_err(said)?),
        };
        stream.get_ref().set_read_timeout(Some(crate::PATIENCE)).map_err(said)?;
        let request = format!("GET /bytes/{} HTTP/1.1\r\nhost: test.example\r\n\r\n", Self::SIZE);
        stream.get_mut().write_all(request.as_bytes()).map_err(said)?;
        let (mut head, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).map_err(said)? > 0 && line != "\r\n" {
            head.push(std::mem::take(&mut line).trim_end().to_ascii_lowercase());
        }
        let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let good = head.first().is_some_and(|line| line == "http/1.1 200 ok");
        if !good || header("transfer-encoding: ") != "chunked" {
            return Err(format!("{head:?}"));
        }
        if chunks(&mut stream).map_err(said)? != [b'b'; Self::SIZE] {
            return Err("the body is another".to_owned());
        }
        if header("connection: ") != "close" {
            self.connection = Some(stream);
        }
        Ok(header("x-version: ").to_owned())
    }
}

/// A body in chunks, up to its end.
fn chunks(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
        let start = body.len();
        body.resize(start + size + 2, 0);
        stream.read_exact(&mut body[start..])?;
        body.truncate(start + size);
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Whether the load goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Running,
    /// It waits.
    Paused,
    /// It ends.
    Over,
}

/// What the threads of the load share.
#[derive(Debug)]
pub struct Load {
    phase: Mutex<Phase>,
    changed: Condvar,
    failures: Mutex<Vec<String>>,
    steps: AtomicU64,
    resting: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
            failures: Mutex::default(),
            steps: AtomicU64::new(0),
            resting: AtomicU64::new(0),
        }
    }
}

impl Load {
    /// What failed so far.
    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().expect(HELD).clone()
    }

    /// How many steps were done.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// How many threads wait for a pause to end.
    pub fn resting(&self) -> u64 {
        self.resting.load(Ordering::Relaxed)
    }

    /// Repeats a step until the load is over; `rest` is done at the beginning of a pause.
    pub fn repeat<T>(
        &self,
        mut state: T,
        step: impl Fn(&mut T) -> Result<(), String>,
        rest: impl Fn(&mut T),
    ) {
        loop {
            thread::park_timeout(PAUSE);
            let phase = self.phase.lock().expect(HELD);
            if *phase == Phase::Paused {
                rest(&mut state);
                self.resting.fetch_add(1, Ordering::Relaxed);
                let phase = self.changed.wait_while(phase, |phase| *phase == Phase::Paused).expect(HELD);
                self.resting.fetch_sub(1, Ordering::Relaxed);
                if *phase == Phase::Over {
                    return;
                }
                continue;
            }
            if *phase == Phase::Over {
                return;
            }
            drop(phase);
            if let Err(failure) = step(&mut state) {
                self.failures.lock().expect(HELD).push(failure);
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Starts another phase.
    pub fn set(&self, phase: Phase) {
        *self.phase.lock().expect(HELD) = phase;
        self.changed.notify_all();
    }
}

/// Sends what follows a position, and compares what comes back.
///
/// # Errors
/// What was wrong.
pub fn echo(stream: &mut TcpStream, position: &mut usize) -> Result<(), String> {
    const PIECE: usize = 8192;
    // Every byte depends on its place, and no power of two divides the period.
    let piece: Vec<u8> = (0..=250).cycle().skip(*position % 251).take(PIECE).collect();
    let mut back = vec![0; PIECE];
    let done = stream.write_all(&piece).and_then(|()| stream.read_exact(&mut back));
    done.map_err(|error| format!("a stream behind {position}: {error}"))?;
    if back != piece {
        return Err(format!("wrong bytes behind {position}"));
    }
    *position += PIECE;
    Ok(())
}
