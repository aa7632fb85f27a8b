//! A control plane that ends its streams in the ways of a script, frame by frame: no gRPC library sends half a message.
//!
//! It has clusters without endpoints, which need but a name, and asks for no Python.

use std::{
    collections::HashMap,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    PATIENCE,
    h2_peer::{END_HEADERS, END_STREAM, Frame, H2Peer, encode, frame, headers_block},
    resources::CLUSTER,
};

/// What a connection carries at once and a stream may send: nobody waits for windows.
const WINDOW: u32 = 1 << 30;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW_SIZE: u16 = 4;
/// `INTERNAL_ERROR` (RFC 9113, section 7).
const INTERNAL_ERROR: [u8; 4] = [0, 0, 0, 2];
/// The largest payload that a peer has to take.
const LARGEST: usize = 16_384;

/// What it does with a stream once there is a request.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Ends it with the status `UNAVAILABLE`, and without an answer.
    Refuse,
    /// Resets it, without an answer.
    Reset,
    /// Sends half of a response that has all clusters of a version, then resets it.
    ResetInMidMessage(Version),
    /// Sends the clusters of the first version, then half of a response with those of the second, then resets it.
    AnswerThenResetInMidMessage(Version, Version),
    /// Sends the clusters of a version, then ends it with the status `UNAVAILABLE`.
    AnswerAndEnd(Version),
    /// Sends the clusters of a version, and keeps it open.
    Answer(Version),
}

/// A version, and the clusters that are there in it.
pub type Version = (&'static str, &'static [&'static str]);

/// A running one.
#[derive(Debug)]
pub struct ScriptedPlane {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    /// The streams: when each was opened, and the first request on it.
    streams: Mutex<Vec<(Instant, Vec<u8>)>>,
}

impl ScriptedPlane {
    /// Starts one that does `act(0)` with the first stream, `act(1)` with the second, and so on.
    pub fn start(act: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (seen, act) = (Arc::new(Seen::default()), Arc::new(act));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (shared, act) = (Arc::clone(&shared), Arc::clone(&act));
                shared.connections.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || serve(client, &shared, &*act));
            }
        });
        Self { port, seen }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// When each stream was opened, and the first request on it, in bytes.
    pub fn streams(&self) -> Vec<(Instant, Vec<u8>)> {
        self.seen.streams.lock().expect("nobody panics with the lock held").clone()
    }
}

fn serve(client: TcpStream, seen: &Seen, act: &(dyn Fn(usize) -> Act + Send + Sync)) {
    let Some(mut peer) = H2Peer::accept(client, &[(INITIAL_WINDOW_SIZE, WINDOW)]) else { return };
    peer.send(frame::WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    let mut requests: HashMap<u32, Vec<u8>> = HashMap::new();
    while !peer.has_ended() {
        let Some(Frame { kind, flags, stream, payload }) = peer.next_within(PATIENCE) else { continue };
        match kind {
            frame::SETTINGS if flags & END_STREAM == 0 => drop(peer.send(kind, END_STREAM, 0, &[])),
            frame::PING if flags & END_STREAM == 0 => drop(peer.send(kind, END_STREAM, 0, &payload)),
            frame::HEADERS => drop(requests.insert(stream, Vec::new())),
            frame::DATA => {
                // What comes behind the first request, answers for example, is of no interest.
                let Some(request) = requests.get_mut(&stream) else { continue };
                request.extend(payload);
                if let Some(request) = first_message(request) {
                    let mut streams = seen.streams.lock().expect("nobody panics with the lock held");
                    streams.push((Instant::now(), request));
                    let number = streams.len() - 1;
                    drop(streams);
                    requests.remove(&stream);
                    // Whether the client still takes it is for the test to see.
                    peer.write(&frames(act(number), stream));
                }
            }
            _ => {}
        }
    }
}

/// The first message of a gRPC stream, if all of it is there.
fn first_message(bytes: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = bytes.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    Some(rest.get(..length)?.to_vec())
}

/// What is written for an act.
fn frames(act: Act, stream: u32) -> Vec<u8> {
    let answered = || headers(stream, &[(":status", "200"), ("content-type", "application/grpc")], 0);
    let reset = || encode(frame::RST_STREAM, 0, stream, &INTERNAL_ERROR);
    let unavailable = ("grpc-status", "14");
    let whole = |version| data(stream, &message(version));
    let half = |version| {
        let message = message(version);
        data(stream, &message[..message.len() / 2])
    };
    match act {
        Act::Refuse => {
            let head = [(":status", "200"), ("content-type", "application/grpc"), unavailable];
            headers(stream, &head, END_STREAM)
        }
        Act::Reset => reset(),
        Act::ResetInMidMessage(version) => [answered(), half(version), reset()].concat(),
        Act::AnswerThenResetInMidMessage(first, second) => {
            [answered(), whole(first), half(second), reset()].concat()
        }
        Act::AnswerAndEnd(version) => {
            [answered(), whole(version), headers(stream, &[unavailable], END_STREAM)].concat()
        }
        Act::Answer(version) => [answered(), whole(version)].concat(),
    }
}

fn headers(stream: u32, headers: &[(&str, &str)], flags: u8) -> Vec<u8> {
    encode(frame::HEADERS, END_HEADERS | flags, stream, &headers_block(headers))
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(LARGEST).flat_map(|piece| encode(frame::DATA, 0, stream, piece)).collect()
}

/// A `DiscoveryResponse` as gRPC frames it. The clusters stand in its first half; a long nonce is the rest.
fn message((version, clusters): Version) -> Vec<u8> {
    let type_url = format!("type.googleapis.com/{CLUSTER}");
    let mut response = field(1, version.as_bytes());
    for cluster in clusters {
        // A `Cluster` with its name and nothing else, in an `Any`.
        let any = [field(1, type_url.as_bytes()), field(2, &field(1, cluster.as_bytes()))].concat();
        response.extend(field(2, &any));
    }
    response.extend(field(4, type_url.as_bytes()));
    response.extend(field(5, &[b'n'; 10_000]));
    let length = u32::try_from(response.len()).expect("a small message");
    [&[0][..], &length.to_be_bytes(), &response].concat()
}

/// A field of protobuf that is delimited by its length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        encoded.push(u8::try_from(length % 128).unwrap_or(0) | 128);
        length /= 128;
    }
    encoded.push(u8::try_from(length).unwrap_or(0));
    encoded.extend(bytes);
    encoded
}
