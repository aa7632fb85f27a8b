//! Messages in a stream of bytes: a flag, a length of four bytes, and the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Code, Status};

/// Flag and length.
const HEAD: usize = 5;

/// Why bytes are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nobody said that messages may be compressed.
    #[error("the message is compressed, which was not agreed on")]
    Compressed,
    /// The flag is none.
    #[error("{0} is no flag of a message")]
    UnknownFlag(u8),
    /// It is larger than allowed.
    #[error("the message has {length} bytes, more than the {max} that may be received")]
    TooLarge {
        /// How large.
        length: usize,
        /// What is allowed.
        max: usize,
    },
}

impl From<FrameError> for Status {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::Compressed | FrameError::UnknownFlag(_) => Code::INTERNAL,
            FrameError::TooLarge { .. } => Code::RESOURCE_EXHAUSTED,
        };
        Self { code, message: error.to_string() }
    }
}

/// A message as it is sent.
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(HEAD + message.len());
    bytes.put_u8(0);
    // Requests are nowhere near 4 GiB.
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Puts messages together.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    max: Option<usize>,
}

impl Frames {
    /// Messages of at most `max` bytes; without, of any size.
    pub fn new(max: Option<usize>) -> Self {
        Self { buffer: BytesMut::new(), max }
    }

    /// Takes bytes in.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next message that is complete.
    ///
    /// # Errors
    /// If what follows is no message that may be received.
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(mut head) = self.buffer.get(..HEAD) else { return Ok(None) };
        match head.get_u8() {
            0 => {}
            1 => return Err(FrameError::Compressed),
            other => return Err(FrameError::UnknownFlag(other)),
        }
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        if let Some(max) = self.max.filter(|max| length > *max) {
            return Err(FrameError::TooLarge { length, max });
        }
        if self.buffer.len() - HEAD < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // The message alone keeps the memory, however large it was.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            cuts in proptest::collection::vec(1_usize..50, 1..40),
        ) {
            let sent: Vec<u8> = messages.iter().flat_map(|message| frame(message)).collect();
            let (mut frames, mut rest, mut received) = (Frames::new(None), sent.as_slice(), Vec::new());
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                frames.push(piece);
                while let Some(message) = frames.next().unwrap() {
                    received.push(message.to_vec());
                }
                rest = after;
            }
            prop_assert_eq!(received, messages);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        let refused = |bytes: &[u8], max| {
            let mut frames = Frames::new(max);
            frames.push(bytes);
            frames.next().unwrap_err().to_string()
        };
        insta::assert_snapshot!(refused(&[1, 0, 0, 0, 0], None), @"the message is compressed, which was not agreed on");
        insta::assert_snapshot!(refused(&[7, 0, 0, 0, 0], None), @"7 is no flag of a message");
        insta::assert_snapshot!(refused(&[0, 0, 0, 1, 0], Some(255)), @"the message has 256 bytes, more than the 255 that may be received");
    }
}
