//! Origin servers: what a proxy connects to.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{client, eventually};

/// A TCP server on a port of the kernel's choice; one thread for each connection.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    record: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

/// What a handler may note for the test to see.
pub type Record = Arc<Mutex<Vec<String>>>;

impl Origin {
    /// Serves each connection with a handler.
    pub fn start(handler: impl Fn(TcpStream, &Record) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the origin");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (record, stopped) = (Record::default(), Arc::new(AtomicBool::new(false)));
        let (handler, shared, stop) = (Arc::new(handler), Arc::clone(&record), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !stop.load(Ordering::Relaxed)).flatten() {
                let (handler, record) = (Arc::clone(&handler), Arc::clone(&shared));
                thread::spawn(move || handler(stream, &record));
            }
        });
        Self { address, record, stopped }
    }

    /// Sends back what comes; notes `EOF` or `RST` at the end.
    pub fn echo() -> Self {
        Self::start(|mut stream, record| {
            let mut buffer = vec![0; 65536];
            let end = loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break "EOF",
                    Ok(count) if stream.write_all(&buffer[..count]).is_ok() => {}
                    Ok(_) | Err(_) => break "RST",
                }
            };
            note(record, end);
        })
    }

    /// Reads to the end, then says how much came.
    pub fn sink() -> Self {
        Self::start(|mut stream, record| {
            let total = client::drain(&mut stream);
            note(record, total.to_string());
            // The client may be gone.
            let _ = stream.write_all(format!("got {total}").as_bytes());
        })
    }

    /// Says a text and finishes sending, then reads to the end.
    pub fn speak_first(text: &'static str) -> Self {
        Self::start(move |mut stream, record| {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            note(record, client::drain(&mut stream).to_string());
        })
    }

    /// Reads something, then resets the connection.
    pub fn reset_after_data() -> Self {
        Self::start(|mut stream, record| {
            let mut buffer = [0; 1024];
            let count = stream.read(&mut buffer).unwrap_or(0);
            note(record, String::from_utf8_lossy(&buffer[..count]));
            client::reset(stream);
        })
    }

    /// Accepts and never reads, until the test is over.
    pub fn stalled() -> Self {
        Self::start(|stream, record| {
            note(record, "accepted");
            loop {
                thread::park();
                let _ = stream.peer_addr();
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What the handlers noted so far.
    pub fn record(&self) -> Vec<String> {
        self.record.lock().expect("no handler panics with the lock held").clone()
    }

    /// What the handlers noted, once there are that many notes.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} notes of the origin"), || self.record().len() >= count);
        self.record()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

/// Notes something for the test to see.
pub fn note(record: &Record, what: impl Into<String>) {
    record.lock().expect("no handler panics with the lock held").push(what.into());
}

/// A port on which nobody listens: bound a moment ago, and free again.
pub fn dead_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("a bound listener has an address").port()
}
