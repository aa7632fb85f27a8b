//! Watching the frames of an HTTP/2 connection go by, since h2 does not tell what its streams weigh on the wire.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use underpass_core::stream_info::SharedStreamInfo;

use crate::codec_stats::Http2CodecStats;

const FRAME_HEAD: usize = 9;
/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// The frames of an upstream connection: what they add to each stream, and those that are counted.
pub(crate) struct FrameMeter {
    sent: RefCell<FrameScan>,
    received: RefCell<FrameScan>,
    /// Streams whose bytes somebody wants to know.
    streams: RefCell<HashMap<u32, SharedStreamInfo>>,
    stats: Http2CodecStats,
    goaway_received: Cell<bool>,
}

impl FrameMeter {
    /// Of a connection whose first byte was not sent yet.
    pub(crate) fn new(stats: &Http2CodecStats) -> Self {
        Self {
            sent: RefCell::new(FrameScan::new(PREFACE)),
            received: RefCell::new(FrameScan::new(0)),
            streams: RefCell::default(),
            stats: stats.clone(),
            goaway_received: Cell::new(false),
        }
    }

    /// From now on, the wire bytes of a stream are noted there.
    pub(crate) fn watch(&self, stream: u32, info: &SharedStreamInfo) {
        self.streams.borrow_mut().insert(stream, SharedStreamInfo::clone(info));
    }

    /// The stream is over.
    pub(crate) fn forget(&self, stream: u32) {
        self.streams.borrow_mut().remove(&stream);
    }

    /// Whether the peer said that it will take no more streams.
    pub(crate) fn goaway_received(&self) -> bool {
        self.goaway_received.get()
    }

    pub(crate) fn note_sent(&self, bytes: &[u8]) {
        self.sent.borrow_mut().scan(bytes, |frame| {
            if frame.kind == RST_STREAM {
                self.stats.tx_reset.inc();
            }
            if let Some(info) = self.streams.borrow().get(&frame.stream) {
                add(&info.upstream.wire_bytes_sent, frame.size);
            }
        });
    }

    pub(crate) fn note_received(&self, bytes: &[u8]) {
        self.received.borrow_mut().scan(bytes, |frame| {
            match frame.kind {
                RST_STREAM => self.stats.rx_reset.inc(),
                GOAWAY => self.goaway_received.set(true),
                _ => {}
            }
            if let Some(info) = self.streams.borrow().get(&frame.stream) {
                add(&info.upstream.wire_bytes_received, frame.size);
            }
        });
    }
}

fn add(cell: &Cell<u64>, n: usize) {
    cell.set(cell.get() + n as u64);
}

/// One direction.
struct FrameScan {
    /// Bytes to go by until the next frame begins.
    skip: usize,
    head: [u8; FRAME_HEAD],
    /// How much of the head is there.
    have: usize,
}

/// The head of a frame.
struct FrameHead {
    kind: u8,
    stream: u32,
    /// Of the whole frame.
    size: usize,
}

impl FrameScan {
    fn new(skip: usize) -> Self {
        Self { skip, head: [0; FRAME_HEAD], have: 0 }
    }

    fn scan(&mut self, mut bytes: &[u8], mut frame: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at(taken);
            self.head[self.have..self.have + taken].copy_from_slice(part);
            (self.have, bytes) = (self.have + taken, rest);
            if self.have == FRAME_HEAD {
                self.have = 0;
                let [a, b, c, kind, _, s1, s2, s3, s4] = self.head;
                let payload = u32::from_be_bytes([0, a, b, c]) as usize;
                self.skip = payload;
                let stream = u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]);
                frame(FrameHead { kind, stream, size: FRAME_HEAD + payload });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut wire = vec![0_u8; 3];
        wire.extend([0, 0, 5, 0, 0, 0, 0, 0, 7, b'h', b'e', b'l', b'l', b'o']);
        wire.extend([0, 0, 0, 1, 0, 0x80, 0, 1, 2]);
        for size in 1..=wire.len() {
            let (mut scan, mut found) = (FrameScan::new(3), Vec::new());
            for piece in wire.chunks(size) {
                scan.scan(piece, |frame| found.push((frame.kind, frame.stream, frame.size)));
            }
            assert_eq!(found, [(0, 7, 14), (1, 258, 9)]);
        }
    }
}
