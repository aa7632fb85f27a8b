//! A peer that speaks HTTP/2 frame by frame, to do what no well-behaved one does (RFC 9113): mostly a client.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{PATIENCE, client::connect};

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub mod frame {
    #![expect(missing_docs, reason = "the names are those of RFC 9113, section 6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flag that ends a stream; on SETTINGS and PING it acknowledges.
pub const END_STREAM: u8 = 1;
/// The flag that ends a block of headers.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of [`frame`].
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` or GOAWAY.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            frame::RST_STREAM => 0,
            frame::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// The status that a block of headers begins with, if it is one of the static table (RFC 7541, appendix A) or spelt
    /// out.
    pub fn status(&self) -> Option<u16> {
        if self.kind != frame::HEADERS {
            return None;
        }
        let mut block = self.payload.as_slice();
        // An update of the table's size may stand in front.
        while block.first().is_some_and(|byte| byte & 0xe0 == 0x20) {
            block = &block[1..];
        }
        match block {
            [0x88, ..] => Some(200),
            [0x89, ..] => Some(204),
            [0x8a, ..] => Some(206),
            [0x8b, ..] => Some(304),
            [0x8c, ..] => Some(400),
            [0x8d, ..] => Some(404),
            [0x8e, ..] => Some(500),
            [0x08 | 0x18 | 0x48, 3, text @ ..] => std::str::from_utf8(text.get(..3)?).ok()?.parse().ok(),
            [0x08 | 0x18 | 0x48, length, text @ ..] if length & 0x80 != 0 => {
                digits(text.get(..(length & 0x7f) as usize)?)
            }
            _ => None,
        }
    }
}

/// Digits in the Huffman code (RFC 7541, appendix B): 0, 1 and 2 have five bits, the others six.
fn digits(text: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let code = |length: usize| {
            bits.get(at..at + length)?.iter().try_fold(0_u16, |code, bit| Some(code << 1 | u16::from(*bit)))
        };
        let digit = match (code(5)?, code(6)) {
            (short @ 0..=2, _) => {
                at += 5;
                short
            }
            (_, Some(long @ 0x19..=0x1f)) => {
                at += 6;
                long - 0x19 + 3
            }
            _ => return None,
        };
        number = number * 10 + digit;
    }
    Some(number)
}

/// A connection, mostly to a server.
#[derive(Debug)]
pub struct H2Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    ended: bool,
}

impl H2Peer {
    /// Connects and sends the preface with empty settings.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[])
    }

    /// Connects and sends the preface with these settings.
    #[track_caller]
    pub fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { stream: connect(address), unread: Vec::new(), ended: false };
        peer.stream.set_write_timeout(Some(Duration::from_secs(5))).expect("a timeout that is not zero");
        peer.write(PREFACE);
        peer.settings(settings);
        peer
    }

    /// The server's side of a connection: reads the preface and sends these settings. None if nothing of the kind comes.
    pub fn accept(mut stream: TcpStream, settings: &[(u16, u32)]) -> Option<Self> {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).ok().filter(|()| preface == PREFACE)?;
        let mut peer = Self { stream, unread: Vec::new(), ended: false };
        peer.settings(settings);
        Some(peer)
    }

    /// Sends bytes as they are. Whether the server still takes them is seen when reading.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes as they are; says whether the server took them. A server that does not read any more counts as one that
    /// does not take them.
    pub fn write_all(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a frame; says whether the server took it.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream.write_all(&encode(kind, flags, stream, payload)).is_ok()
    }

    /// Sends settings.
    pub fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.send(frame::SETTINGS, 0, 0, &payload);
    }

    /// Sends a request's headers and nothing else.
    pub fn request(&mut self, stream: u32, headers: &[(&str, &str)], ends: bool) -> bool {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(frame::HEADERS, flags, stream, &headers_block(headers))
    }

    /// GET without a body.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.request(stream, &get(path), true)
    }

    /// The next frame; none at the end of the connection, or when nothing comes within a time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout that is not zero");
        loop {
            if let Some(length) =
                self.unread.get(..3).map(|it| u32::from_be_bytes([0, it[0], it[1], it[2]]) as usize)
                && self.unread.len() >= 9 + length
            {
                let payload = self.unread[9..9 + length].to_vec();
                let head: Vec<u8> = self.unread.drain(..9 + length).take(9).collect();
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
                return Some(Frame { kind: head[3], flags: head[4], stream, payload });
            }
            let mut buffer = [0; 16384];
            match self.stream.read(&mut buffer) {
                Ok(count @ 1..) => self.unread.extend_from_slice(&buffer[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Ok(0) | Err(_) => {
                    self.ended = true;
                    return None;
                }
            }
        }
    }

    /// The next frame; none at the end of the connection.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.next_within(PATIENCE)
    }

    /// The next frame that fulfils a condition; frames before it are passed over, settings and pings acknowledged.
    pub fn find(&mut self, mut wanted: impl FnMut(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next_frame()?;
            if wanted(&frame) {
                return Some(frame);
            }
            if matches!(frame.kind, frame::SETTINGS | frame::PING) && frame.flags & END_STREAM == 0 {
                let payload = if frame.kind == frame::PING { frame.payload } else { Vec::new() };
                self.send(frame.kind, END_STREAM, 0, &payload);
            }
        }
    }

    /// The status of the answer on a stream; none if it is reset or the connection ends.
    pub fn status(&mut self, stream: u32) -> Option<u16> {
        self.find(|frame| {
            frame.stream == stream && matches!(frame.kind, frame::HEADERS | frame::RST_STREAM)
                || frame.kind == frame::GOAWAY
        })
        .and_then(|frame| frame.status())
    }

    /// Whether the connection has ended, as far as was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Reads to the end of the connection: the code of the last GOAWAY that came, if one did. None if it does not end.
    pub fn end(&mut self) -> Option<Option<u32>> {
        let mut code = None;
        while let Some(frame) = self.next_frame() {
            if frame.kind == frame::GOAWAY {
                code = frame.error_code();
            }
        }
        self.ended.then_some(code)
    }
}

/// A frame as bytes.
pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a payload of less than 16 MiB").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The headers of a GET.
pub fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "test.example"), (":path", path)]
}

/// A block of headers, each spelt out and not to be kept (RFC 7541, section 6.2.2).
pub fn headers_block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length without the Huffman flag (RFC 7541, section 5.1).
fn integer(mut number: usize, block: &mut Vec<u8>) {
    if number < 127 {
        block.push(u8::try_from(number).unwrap_or(0));
        return;
    }
    block.push(127);
    number -= 127;
    while number >= 128 {
        block.push(u8::try_from(number % 128).unwrap_or(0) | 128);
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap_or(0));
}
