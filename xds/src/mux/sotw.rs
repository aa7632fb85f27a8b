//! What the state-of-the-world protocol remembers of a type.

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
}

impl StateOfTheWorld {
    /// Nonces belong to a stream.
    pub(super) fn stream_opened(&mut self) {
        self.nonce.clear();
        self.error = None;
    }

    /// The subscription with the newest ACK or NACK. Nothing is said of a type that nobody wants and that was never
    /// answered: no names would mean everything.
    pub(super) fn request(
        &mut self,
        watches: &Watches,
        type_url: &str,
        node: Option<Node>,
    ) -> Option<DiscoveryRequest> {
        if watches.is_empty() && self.nonce.is_empty() {
            return None;
        }
        // With names beside it, everything must be asked for by its own name.
        let wildcard = watches.is_wildcard() && watches.names().next().is_some();
        let names = watches.names().map(ToString::to_string);
        Some(DiscoveryRequest {
            version_info: self.version.clone(),
            node,
            resource_names: names.chain(wildcard.then(|| "*".to_owned())).collect(),
            type_url: type_url.to_owned(),
            response_nonce: self.nonce.clone(),
            error_detail: self.error.take(),
        })
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
