//! Builds `ClientHello`s, right ones and wrong ones.

/// The parts of a ClientHello.
#[derive(Debug, Clone)]
pub(super) struct Hello {
    pub(super) version: u16,
    pub(super) session_id: Vec<u8>,
    pub(super) cipher_suites: Vec<u8>,
    pub(super) compression_methods: Vec<u8>,
    /// `None` leaves the block out, as clients before TLS 1.2 may.
    pub(super) extensions: Option<Vec<u8>>,
    pub(super) tail: Vec<u8>,
}

impl Hello {
    /// One with these extensions, and the rest as a browser has it.
    pub(super) fn with(extensions: &[Vec<u8>]) -> Self {
        Self {
            version: 0x0303,
            session_id: Vec::new(),
            cipher_suites: vec![0x13, 0x01, 0xc0, 0x2f],
            compression_methods: vec![0],
            extensions: Some(extensions.concat()),
            tail: Vec::new(),
        }
    }

    /// The handshake message.
    pub(super) fn message(&self) -> Vec<u8> {
        let body = [
            self.version.to_be_bytes().to_vec(),
            vec![b'R'; 32],
            with_u8(&self.session_id),
            with_u16(&self.cipher_suites),
            with_u8(&self.compression_methods),
            self.extensions.as_deref().map(with_u16).unwrap_or_default(),
            self.tail.clone(),
        ];
        message(1, &body.concat())
    }

    /// The message in one record.
    pub(super) fn record(&self) -> Vec<u8> {
        record(22, &self.message())
    }
}

pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

pub(super) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1], &*with_u16(content)].concat()
}

pub(super) fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), with_u16(content)].concat()
}

/// The server name extension with names of this type (0 is a host name).
pub(super) fn server_names(kind: u8, names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|name| [vec![kind], with_u16(name)].concat()).collect();
    extension(0, &with_u16(&list))
}

pub(super) fn server_name(name: &str) -> Vec<u8> {
    server_names(0, &[name.as_bytes()])
}

pub(super) fn alpn(protocols: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|name| with_u8(name)).collect();
    extension(16, &with_u16(&list))
}

/// The extension without which rustls takes no ClientHello.
pub(super) fn signature_algorithms() -> Vec<u8> {
    extension(13, &[0, 2, 4, 3])
}

fn with_u8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn with_u16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
