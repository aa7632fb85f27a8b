//! What the state-of-the-world protocol remembers of a type.

use std::sync::Arc;

use prost::{Message as _, encoding::encode_varint};

use super::{subscription::Answer, watches::Watches};
use crate::proto::{DiscoveryRequest, Node, Status};

/// Version and nonce.
#[derive(Debug, Default)]
pub(super) struct StateOfTheWorld {
    /// What was accepted last; it outlives the stream.
    version: String,
    /// Of the last response on this stream.
    nonce: String,
    /// What the next request rejects it with.
    error: Option<Status>,
    /// The names of the last request as they were sent. Every ACK repeats them, and there may be thousands.
    names: Option<Vec<u8>>,
}

/// Field 3 of a `DiscoveryRequest`, `resource_names`, with a length before it.
const RESOURCE_NAME: u8 = 3 << 3 | 2;

impl StateOfTheWorld {
    /// Nonces belong to a stream.
    pub(super) fn stream_opened(&mut self) {
        self.nonce.clear();
        self.error = None;
    }

    /// Other names are wanted.
    pub(super) fn interest_changed(&mut self) {
        self.names = None;
    }

    /// The subscription with the newest ACK or NACK, encoded. Nothing is said of a type that nobody wants and that was never
    /// answered: no names would mean everything.
    pub(super) fn request(
        &mut self,
        watches: &Watches,
        type_url: &str,
        node: Option<Node>,
    ) -> Option<Vec<u8>> {
        if watches.is_empty() && self.nonce.is_empty() {
            return None;
        }
        let request = DiscoveryRequest {
            version_info: self.version.clone(),
            node,
            resource_names: Vec::new(),
            type_url: type_url.to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail: self.error.take(),
        };
        let names = self.names.get_or_insert_with(|| names(watches));
        let mut encoded = Vec::with_capacity(request.encoded_len() + names.len());
        request.encode_raw(&mut encoded);
        encoded.extend_from_slice(names);
        Some(encoded)
    }

    /// A response was accepted, or not.
    pub(super) fn settle(&mut self, answer: Answer, error: Option<Status>) {
        self.nonce = answer.nonce;
        if error.is_none() {
            self.version = answer.version.to_string();
        }
        self.error = error;
    }
}

/// The names as a request has them.
fn names(watches: &Watches) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut put = |name: &str| {
        encoded.push(RESOURCE_NAME);
        encode_varint(name.len() as u64, &mut encoded);
        encoded.extend_from_slice(name.as_bytes());
    };
    let named = || watches.names().map(Arc::as_ref);
    named().for_each(&mut put);
    // With names beside it, everything must be asked for by its own name.
    if watches.is_wildcard() && named().next().is_some() {
        put("*");
    }
    encoded
}
