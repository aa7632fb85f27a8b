//! The parts of a `ClientHello` that a proxy is interested in (RFC 8446 4.1.2, RFC 6066 3, RFC 7301 3.1).

use std::{collections::HashSet, sync::Arc};

use crate::failure::Failure;

/// The type of the handshake message.
pub(crate) const CLIENT_HELLO: u8 = 1;

/// The longest name that BoringSSL takes for a server's.
const MAX_SERVER_NAME: usize = 255;

mod extension {
    pub(super) const SERVER_NAME: u16 = 0;
    pub(super) const ALPN: u16 = 16;
}

/// What a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ClientHello {
    /// The version it says it has: 0x0303 for TLS 1.2, and for TLS 1.3, too.
    pub(crate) version: u16,
    /// The server it asks for, in lower case.
    pub(crate) server_name: Option<Arc<str>>,
    /// The protocols it offers. A list that is malformed is none: the TLS that will answer shall say so.
    pub(crate) application_protocols: Vec<Arc<str>>,
}

impl ClientHello {
    /// Reads the body of the message. As in BoringSSL's `ssl_client_hello_init`, only its outline has to be right.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let (version, extensions) = outline(body).ok_or(Failure::Malformed)?;
        let mut hello = Self { version, ..Self::default() };
        for (kind, content) in extensions {
            match kind {
                extension::SERVER_NAME => {
                    hello.server_name = Some(server_name(content).ok_or(Failure::MalformedServerName)?);
                }
                extension::ALPN => hello.application_protocols = protocols(content).unwrap_or_default(),
                _ => {}
            }
        }
        Ok(hello)
    }

    /// Whether there is a version of TLS with that number.
    pub(crate) fn has_known_version(&self) -> bool {
        (0x0301..=0x0304).contains(&self.version)
    }
}

type Extension<'a> = (u16, &'a [u8]);

/// The version and the extensions, each of which may come once.
fn outline(body: &[u8]) -> Option<(u16, Vec<Extension<'_>>)> {
    let mut body = Bytes(body);
    let version = body.u16()?;
    body.take(32)?; // random
    let session_id = body.prefixed_u8()?;
    let cipher_suites = body.prefixed_u16()?;
    let compression_methods = body.prefixed_u8()?;
    let fits = session_id.len() <= 32
        && cipher_suites.len() >= 2
        && cipher_suites.len() % 2 == 0
        && !compression_methods.is_empty();
    let mut block = if body.is_empty() { Bytes(&[]) } else { Bytes(body.prefixed_u16()?) };
    let mut extensions = Vec::new();
    while !block.is_empty() {
        extensions.push((block.u16()?, block.prefixed_u16()?));
    }
    let mut seen = HashSet::new();
    let unique = extensions.iter().all(|(kind, _)| seen.insert(*kind));
    (fits && body.is_empty() && unique).then_some((version, extensions))
}

/// The one host name of the extension.
fn server_name(content: &[u8]) -> Option<Arc<str>> {
    let mut content = Bytes(content);
    let mut list = Bytes(content.prefixed_u16()?);
    let is_host_name = list.take(1)? == [0];
    let name = list.prefixed_u16()?;
    let fits = is_host_name
        && list.is_empty()
        && content.is_empty()
        && (1..=MAX_SERVER_NAME).contains(&name.len())
        && !name.contains(&0);
    fits.then(|| String::from_utf8_lossy(name).to_ascii_lowercase().into())
}

/// The names of the extension, none of which may be empty.
fn protocols(content: &[u8]) -> Option<Vec<Arc<str>>> {
    let mut content = Bytes(content);
    let mut list = Bytes(content.prefixed_u16()?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let name = list.prefixed_u8().filter(|name| !name.is_empty())?;
        protocols.push(String::from_utf8_lossy(name).into());
    }
    content.is_empty().then_some(protocols)
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)))
    }

    /// What one byte says the length of.
    fn prefixed_u8(&mut self) -> Option<&'a [u8]> {
        let length = *self.take(1)?.first()?;
        self.take(length.into())
    }

    /// What two bytes say the length of.
    fn prefixed_u16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }
}
