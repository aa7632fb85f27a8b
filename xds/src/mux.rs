//! What is subscribed to on one stream, and what has been said about it: the protocol's state, without any I/O.
//!
//! Whoever drives it tells when the stream [opens](Mux::stream_opened) and [closes](Mux::stream_closed), asks for the
//! [next request](Mux::next_request), and hands over what [arrives](Mux::received): a [`Response`] says who is to be told of
//! what, and [settling](Mux::settle) it makes the ACK or the NACK.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

mod decode;
mod delta;
mod sotw;
mod subscription;
mod ttl;
mod watches;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use prost::Message as _;
use underpass_core::config::Node as Tree;

pub use self::watches::{Interest, WatchId};
use self::{
    decode::Decoder,
    delta::Delta,
    sotw::StateOfTheWorld,
    subscription::{Answer, Subscription, Variant},
};
use crate::{
    proto::{DeltaDiscoveryResponse, DiscoveryResponse, Node, Status},
    resource_type::{Protocol, rank},
};

/// gRPC's `INTERNAL`, with which Envoy rejects a configuration.
const INTERNAL: i32 = 13;
/// Envoy cuts the text of an error at this length, which a header of any server takes.
const MAX_ERROR: usize = 4096;

/// One resource, as a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// Its version: that of the response in the state-of-the-world protocol.
    pub version: Arc<str>,
    /// The resource, without `@type`.
    pub tree: Arc<Tree>,
}

/// What a watch is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// All there is of what the watch is interested in.
    State {
        /// The resources.
        resources: Vec<Resource>,
        /// The version of the response.
        version: Arc<str>,
    },
    /// What changed.
    Delta {
        /// New or changed resources.
        changed: Vec<Resource>,
        /// Names of those that are gone.
        removed: Vec<Arc<str>>,
        /// The version of the response, for people.
        version: Arc<str>,
    },
}

/// A response that was taken apart. It must be [settled](Mux::settle).
#[derive(Debug)]
#[must_use]
pub struct Response {
    /// Who is to be told what.
    pub deliveries: Vec<(WatchId, Update)>,
    /// The response as a whole is refused: why, and who is to be told of that.
    pub rejection: Option<(String, Vec<WatchId>)>,
    /// How the control plane calls itself, if it says so.
    pub control_plane: Option<String>,
    type_url: String,
    answer: Option<Answer>,
}

/// Why a stream cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The bytes are no response.
    #[error("the message is no discovery response: {0}")]
    Garbage(String),
}

/// The state of one stream.
#[derive(Debug)]
pub struct Mux {
    protocol: Protocol,
    node: Node,
    node_on_first_message_only: bool,
    node_sent: bool,
    open: bool,
    /// By type URL.
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// Types that have something to say, each once.
    queue: VecDeque<Arc<str>>,
    decoder: Decoder,
    last_watch: u64,
}

impl Mux {
    /// One that nobody has subscribed to anything on.
    pub fn new(protocol: Protocol, node: Node, node_on_first_message_only: bool) -> Self {
        Self {
            protocol,
            node,
            node_on_first_message_only,
            node_sent: false,
            open: false,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            decoder: Decoder::default(),
            last_watch: 0,
        }
    }

    /// Subscribes to resources of a type.
    pub fn watch(&mut self, type_url: &str, interest: Interest) -> WatchId {
        self.last_watch += 1;
        let id = WatchId(self.last_watch);
        let protocol = self.protocol;
        let subscription = self.subscriptions.entry(type_url.into()).or_insert_with(|| {
            Subscription::new(match protocol {
                Protocol::StateOfTheWorld => Variant::StateOfTheWorld(StateOfTheWorld::default()),
                Protocol::Delta => Variant::Delta(Delta::default()),
            })
        });
        if subscription.set_interest(id, Some(interest)) {
            self.enqueue(type_url);
        }
        id
    }

    /// What a new watch can be told at once: resources that it names and that others have asked for before. The control plane has
    /// no reason to send them again.
    pub fn known(&mut self, id: WatchId, type_url: &str) -> Option<Update> {
        self.subscriptions.get(type_url)?.known(id, type_url, &mut self.decoder)
    }

    /// Changes what a watch is interested in.
    pub fn update_watch(&mut self, id: WatchId, type_url: &str, interest: Interest) {
        self.set_interest(id, type_url, Some(interest));
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, id: WatchId, type_url: &str) {
        self.set_interest(id, type_url, None);
    }

    fn set_interest(&mut self, id: WatchId, type_url: &str, interest: Option<Interest>) {
        if self.subscriptions.get_mut(type_url).is_some_and(|it| it.set_interest(id, interest)) {
            self.enqueue(type_url);
        }
    }

    /// A new stream is open: everything is subscribed to anew on it, in the order of the types.
    pub fn stream_opened(&mut self) {
        self.open = true;
        self.node_sent = false;
        let mut types: Vec<_> = self.subscriptions.keys().cloned().collect();
        types.sort_by_key(|type_url| rank(type_url));
        self.queue = types.into();
        for subscription in self.subscriptions.values_mut() {
            subscription.stream_opened();
        }
    }

    /// The stream is gone. What was accepted stays.
    pub fn stream_closed(&mut self) {
        self.open = false;
        self.queue.clear();
    }

    /// How many types have something to say (`control_plane.pending_requests`).
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    /// How many responses have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.subscriptions.values().map(Subscription::unanswered).sum()
    }

    /// The next request, encoded; there is none while the stream is not open.
    pub fn next_request(&mut self) -> Option<Bytes> {
        while self.open {
            let type_url = self.queue.front().cloned()?;
            let node = (!self.node_sent || !self.node_on_first_message_only).then(|| self.node.clone());
            let subscription = self.subscriptions.get_mut(&type_url)?;
            let request = subscription.request(&type_url, node);
            if !subscription.has_more() {
                self.queue.pop_front();
            }
            if let Some(request) = request {
                self.node_sent = true;
                return Some(request);
            }
        }
        None
    }

    /// Takes a message apart.
    ///
    /// # Errors
    /// If it is no response at all. The stream cannot be trusted any more then.
    pub fn received(&mut self, message: Bytes, now: Instant) -> Result<Response, ProtocolError> {
        let garbage = |error: prost::DecodeError| ProtocolError::Garbage(error.to_string());
        match self.protocol {
            Protocol::StateOfTheWorld => {
                let response = DiscoveryResponse::decode(message).map_err(garbage)?;
                let control_plane = response.control_plane.as_ref().map(|it| it.identifier.clone());
                let type_url = response.type_url.clone();
                let taken = self
                    .subscriptions
                    .get_mut(&*type_url)
                    .map(|it| it.state(response, &mut self.decoder, now));
                Ok(Response::new(type_url, control_plane, taken))
            }
            Protocol::Delta => {
                let response = DeltaDiscoveryResponse::decode(message).map_err(garbage)?;
                let control_plane = response.control_plane.as_ref().map(|it| it.identifier.clone());
                let type_url = response.type_url.clone();
                let taken = self
                    .subscriptions
                    .get_mut(&*type_url)
                    .map(|it| it.delta(response, &mut self.decoder, now));
                Ok(Response::new(type_url, control_plane, taken))
            }
        }
    }

    /// Makes the answer to a response, after all watches were told: an ACK, or a NACK if it was refused or if `errors` of
    /// watches are there. What they asked for meanwhile leaves before it.
    pub fn settle(&mut self, response: Response, errors: &[String]) {
        let Response { rejection, type_url, answer, .. } = response;
        let Some(answer) = answer else { return };
        let mut errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        if let Some((reason, _)) = &rejection {
            errors.insert(0, reason);
        }
        let error = (!errors.is_empty()).then(|| Status { code: INTERNAL, message: cut(&errors.join("\n")) });
        if let Some(subscription) = self.subscriptions.get_mut(&*type_url) {
            subscription.settle(answer, error);
            self.enqueue(&type_url);
        }
    }

    /// When the next resource goes unless it is heard of again.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.subscriptions.values().filter_map(Subscription::next_expiry).min()
    }

    /// Takes away the resources whose time is up, and says whom to tell.
    pub fn expire(&mut self, now: Instant) -> Vec<(WatchId, Update)> {
        self.subscriptions.values_mut().flat_map(|subscription| subscription.expire(now)).collect()
    }

    /// All watches, for those that want to know that there is no connection.
    pub fn watches(&self) -> Vec<WatchId> {
        self.subscriptions.values().flat_map(Subscription::watches).collect()
    }

    fn enqueue(&mut self, type_url: &str) {
        if self.open && !self.queue.iter().any(|queued| **queued == *type_url) {
            self.queue.push_back(type_url.into());
        }
    }
}

impl Response {
    fn new(type_url: String, control_plane: Option<String>, taken: Option<subscription::Taken>) -> Self {
        let control_plane = control_plane.filter(|identifier| !identifier.is_empty());
        match taken {
            // Nobody ever subscribed to it: Envoy drops it without an answer.
            None => Self { deliveries: Vec::new(), rejection: None, control_plane, type_url, answer: None },
            Some(taken) => Self {
                deliveries: taken.deliveries,
                rejection: taken.rejection,
                control_plane,
                type_url,
                answer: Some(taken.answer),
            },
        }
    }

    /// The type of the resources.
    pub fn type_url(&self) -> &str {
        &self.type_url
    }

    /// Whether somebody had subscribed to the type.
    pub fn was_asked_for(&self) -> bool {
        self.answer.is_some()
    }
}

fn cut(message: &str) -> String {
    let mut end = MAX_ERROR.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if end < message.len() { format!("{}...(truncated)", &message[..end]) } else { message.to_owned() }
}

#[cfg(test)]
mod tests;
