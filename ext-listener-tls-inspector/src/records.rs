//! From the bytes of a stream to the first TLS handshake message, record by record.

use crate::{
    client_hello::{CLIENT_HELLO, ClientHello},
    failure::Failure,
};

/// Type, version and length.
const RECORD_HEADER: usize = 5;
/// Type and length.
const MESSAGE_HEADER: usize = 4;
/// RFC 8446 5.1, with the room that a cipher of TLS 1.2 may take, as BoringSSL counts it.
const MAX_RECORD: usize = 16 * 1024 + 256;
/// BoringSSL takes no longer `ClientHello`.
const MAX_MESSAGE: usize = 16 * 1024;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// Collects the first handshake message from records, each of which is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// How many bytes of the stream were looked at.
    processed: usize,
    /// What the records so far held.
    message: Vec<u8>,
}

/// What the stream turned out to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// A `ClientHello`.
    Hello(ClientHello),
    /// Something else.
    Other(Failure),
    /// The client takes its leave before it has said anything.
    CloseNotify,
}

impl Records {
    /// How many bytes of the stream decided what it is.
    pub(crate) fn processed(&self) -> usize {
        self.processed
    }

    /// Looks at the stream, of which `bytes` is the beginning: each time the same bytes, and more. `None` as long as more
    /// are needed.
    pub(crate) fn look_at(&mut self, bytes: &[u8]) -> Option<Beginning> {
        loop {
            let rest = bytes.get(self.processed..)?;
            let (header, rest) = rest.split_first_chunk::<RECORD_HEADER>()?;
            let [kind, major, _, high, low] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let refused = self.refuse(*header, major, length);
            if let Some(failure) = refused {
                self.processed += RECORD_HEADER;
                return Some(Beginning::Other(failure));
            }
            let content = rest.get(..length)?;
            self.processed += RECORD_HEADER + length;
            if let Some(beginning) = self.take(kind, content) {
                return Some(beginning);
            }
        }
    }

    /// What is wrong with the header of a record.
    fn refuse(&self, header: [u8; RECORD_HEADER], major: u8, length: usize) -> Option<Failure> {
        if self.processed == 0 {
            match &header {
                [b'G', b'E', b'T', b' ', _] | [b'P', b'U', b'T', b' ', _] | b"POST " | b"HEAD " => {
                    return Some(Failure::HttpRequest);
                }
                b"CONNE" => return Some(Failure::ProxyRequest),
                _ => {}
            }
        }
        if major != 3 {
            return Some(Failure::WrongVersion);
        }
        (length > MAX_RECORD).then_some(Failure::RecordTooLong)
    }

    fn take(&mut self, kind: u8, content: &[u8]) -> Option<Beginning> {
        match (kind, content) {
            (ALERT, [1, 0]) => Some(Beginning::CloseNotify),
            // BoringSSL skips empty records and warnings. How many there can be is bounded by the size of a ClientHello.
            (_, []) | (ALERT, [1, _]) => None,
            (HANDSHAKE, _) => {
                self.message.extend_from_slice(content);
                self.message().transpose().map(|hello| match hello {
                    Ok(hello) => Beginning::Hello(hello),
                    Err(failure) => Beginning::Other(failure),
                })
            }
            _ => Some(Beginning::Other(Failure::UnexpectedRecord)),
        }
    }

    /// The message, when it is complete.
    fn message(&self) -> Result<Option<ClientHello>, Failure> {
        let Some((&[kind, a, b, c], rest)) = self.message.split_first_chunk::<MESSAGE_HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > MAX_MESSAGE {
            return Err(Failure::MessageTooLong);
        }
        let Some((body, excess)) = rest.split_at_checked(length) else { return Ok(None) };
        if kind != CLIENT_HELLO {
            return Err(Failure::UnexpectedMessage);
        }
        if !excess.is_empty() {
            return Err(Failure::ExcessData);
        }
        ClientHello::parse(body).map(Some)
    }
}
