//! One type of resources on a stream: its watches, and what the protocol has to remember of it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use bytes::Bytes;
use prost::Message as _;

use super::{
    Resource, Update, WatchId,
    decode::{Decoded, Decoder},
    delta::Delta,
    sotw::StateOfTheWorld,
    ttl::Ttls,
    watches::{Interest, Watches},
};
use crate::proto::{DeltaDiscoveryResponse, DiscoveryResponse, Node, Status};

/// One type.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) watches: Watches,
    ttls: Ttls,
    /// What is here of that which was asked for by name, for whoever asks for it once more: a control plane says it only once.
    accepted: HashMap<Arc<str>, Accepted>,
    variant: Variant,
}

/// A resource that was accepted. Its bytes take a fraction of the memory that its tree does.
#[derive(Debug, Clone)]
struct Accepted {
    version: Arc<str>,
    bytes: Bytes,
}

/// What the two forms of the protocol remember.
#[derive(Debug)]
pub(super) enum Variant {
    StateOfTheWorld(StateOfTheWorld),
    Delta(Delta),
}

/// What has to be remembered of a response until it is settled.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) nonce: String,
    pub(super) version: Arc<str>,
    /// What came with which version, and what went (delta).
    pub(super) versions: Vec<(Arc<str>, Option<Arc<str>>)>,
    /// What came of that which was asked for by name; `None` for what went.
    accepted: Vec<(Arc<str>, Option<Accepted>)>,
}

/// A response that was taken apart.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) deliveries: Vec<(WatchId, Update)>,
    pub(super) rejection: Option<(String, Vec<WatchId>)>,
    pub(super) answer: Answer,
}

impl Subscription {
    pub(super) fn new(variant: Variant) -> Self {
        let (watches, ttls) = (Watches::default(), Ttls::default());
        Self { watches, ttls, accepted: HashMap::new(), variant }
    }

    /// Whether there is something to say about it.
    pub(super) fn set_interest(&mut self, id: WatchId, interest: Option<Interest>) -> bool {
        let change = self.watches.set(id, interest);
        if change.is_none() {
            return false;
        }
        for name in &change.removed {
            self.ttls.clear(name);
            self.accepted.remove(name);
        }
        match &mut self.variant {
            Variant::StateOfTheWorld(state) => state.interest_changed(),
            Variant::Delta(delta) => delta.interest_changed(change, &self.watches),
        }
        true
    }

    pub(super) fn stream_opened(&mut self) {
        match &mut self.variant {
            Variant::StateOfTheWorld(state) => state.stream_opened(),
            Variant::Delta(delta) => delta.stream_opened(),
        }
    }

    /// The next request about the type, if it still has something to say.
    pub(super) fn request(&mut self, type_url: &str, node: Option<Node>) -> Option<Bytes> {
        let encoded = match &mut self.variant {
            Variant::StateOfTheWorld(state) => state.request(&self.watches, type_url, node)?,
            Variant::Delta(delta) => delta.request(&self.watches, type_url, node)?.encode_to_vec(),
        };
        Some(encoded.into())
    }

    /// Whether another request follows at once.
    pub(super) fn has_more(&self) -> bool {
        matches!(&self.variant, Variant::Delta(delta) if delta.has_more())
    }

    /// How many responses have no answer yet; in the state-of-the-world protocol the newest stands for all.
    pub(super) fn unanswered(&self) -> usize {
        match &self.variant {
            Variant::StateOfTheWorld(_) => 0,
            Variant::Delta(delta) => delta.unanswered(),
        }
    }

    /// What is here already of the names that a watch asks for.
    pub(super) fn known(&self, id: WatchId, type_url: &str, decoder: &mut Decoder) -> Option<Update> {
        let resources: Vec<_> = self
            .watches
            .names_of(id)
            .filter_map(|name| {
                let Accepted { version, bytes } = self.accepted.get(name)?;
                let tree = decoder.again(type_url, name, bytes)?;
                Some(Resource { name: Arc::clone(name), version: Arc::clone(version), tree })
            })
            .collect();
        let version = Arc::clone(&resources.first()?.version);
        Some(match &self.variant {
            Variant::StateOfTheWorld(_) => Update::State { resources, version },
            Variant::Delta(_) => Update::Delta { changed: resources, removed: Vec::new(), version },
        })
    }

    pub(super) fn settle(&mut self, mut answer: Answer, error: Option<Status>) {
        if error.is_none() {
            for (name, accepted) in std::mem::take(&mut answer.accepted) {
                // Somebody may have lost interest meanwhile.
                match accepted.filter(|_| self.watches.is_named(&name)) {
                    Some(accepted) => _ = self.accepted.insert(name, accepted),
                    None => _ = self.accepted.remove(&name),
                }
            }
        }
        match &mut self.variant {
            Variant::StateOfTheWorld(state) => state.settle(answer, error),
            Variant::Delta(delta) => delta.settle(answer, error, &self.watches),
        }
    }

    /// Takes a state-of-the-world response apart.
    pub(super) fn state(
        &mut self,
        response: DiscoveryResponse,
        decoder: &mut Decoder,
        now: Instant,
    ) -> Taken {
        let version: Arc<str> = response.version_info.as_str().into();
        let mut answer = Answer::to(response.nonce, &version);
        if self.watches.is_empty() {
            // Somebody was interested once. Envoy takes nothing as well, and rejects what it has not asked for.
            let rejection = (!response.resources.is_empty())
                .then(|| (format!("nobody asks for {} any more", response.type_url), Vec::new()));
            return Taken { deliveries: Vec::new(), rejection, answer };
        }
        let decoded = match decoder.state(&response.type_url, response.resources, &version) {
            Ok(decoded) => decoded,
            Err(reason) => return self.reject(reason, answer),
        };
        self.note_ttls(&decoded, now);
        answer.accepted = self.to_keep(&decoded);
        if only_heartbeats(&decoded) {
            return Taken { deliveries: Vec::new(), rejection: None, answer };
        }
        let mut deliveries: Vec<(WatchId, Update)> = Vec::new();
        // Heartbeats belong to the whole, too.
        let whole = || decoded.iter().filter_map(Decoded::resource).collect::<Vec<_>>();
        for watch in self.watches.of_all() {
            deliveries.push((watch, Update::State { resources: whole(), version: Arc::clone(&version) }));
        }
        // Of what is asked for by name, nothing is said where a response does not mention it: it need not be complete.
        for (watch, resources) in self.by_watch(news(&decoded)) {
            deliveries.push((watch, Update::State { resources, version: Arc::clone(&version) }));
        }
        Taken { deliveries, rejection: None, answer }
    }

    /// Takes a delta response apart.
    pub(super) fn delta(
        &mut self,
        response: DeltaDiscoveryResponse,
        decoder: &mut Decoder,
        now: Instant,
    ) -> Taken {
        let version: Arc<str> = response.system_version_info.as_str().into();
        let mut answer = Answer::to(response.nonce, &version);
        let removed: Vec<Arc<str>> =
            response.removed_resources.iter().map(|name| name.as_str().into()).collect();
        let decoded = match decoder.delta(&response.type_url, response.resources, &removed) {
            Ok(decoded) => decoded,
            Err(reason) => return self.reject(reason, answer),
        };
        self.note_ttls(&decoded, now);
        answer.accepted = self.to_keep(&decoded);
        answer.accepted.extend(removed.iter().map(|name| (Arc::clone(name), None)));
        let changed = news(&decoded);
        for name in &removed {
            self.ttls.clear(name);
        }
        answer.versions =
            changed.iter().map(|it| (Arc::clone(&it.name), Some(Arc::clone(&it.version)))).collect();
        answer.versions.extend(removed.iter().map(|name| (Arc::clone(name), None)));
        let is_news = !only_heartbeats(&decoded) || !removed.is_empty();
        let deliveries = if is_news { self.deltas(changed, removed, &version) } else { Vec::new() };
        Taken { deliveries, rejection: None, answer }
    }

    fn to_keep(&self, decoded: &[Decoded]) -> Vec<(Arc<str>, Option<Accepted>)> {
        let named = decoded.iter().filter(|it| !it.heartbeat && self.watches.is_named(&it.name));
        named
            .map(|it| {
                // A copy, or the whole response would stay in memory for the sake of a part.
                let (version, bytes) = (Arc::clone(&it.version), Bytes::copy_from_slice(&it.bytes));
                (Arc::clone(&it.name), Some(Accepted { version, bytes }))
            })
            .collect()
    }

    fn reject(&self, reason: String, answer: Answer) -> Taken {
        Taken { deliveries: Vec::new(), rejection: Some((reason, self.watches.ids())), answer }
    }

    /// Starts or renews the time of each resource.
    fn note_ttls(&mut self, decoded: &[Decoded], now: Instant) {
        for resource in decoded {
            self.ttls.set(&resource.name, resource.ttl, now);
        }
    }

    /// What each watch is told of resources that it asked for by name, by its age.
    fn by_watch(&self, resources: Vec<Resource>) -> Vec<(WatchId, Vec<Resource>)> {
        let mut by_watch: HashMap<WatchId, Vec<Resource>> = HashMap::new();
        for resource in resources {
            for watch in self.watches.of_name(&resource.name) {
                by_watch.entry(*watch).or_default().push(resource.clone());
            }
        }
        let mut sorted: Vec<_> = by_watch.into_iter().collect();
        sorted.sort_unstable_by_key(|(watch, _)| *watch);
        sorted
    }

    fn deltas(
        &self,
        changed: Vec<Resource>,
        removed: Vec<Arc<str>>,
        version: &Arc<str>,
    ) -> Vec<(WatchId, Update)> {
        type Part = (Vec<Resource>, Vec<Arc<str>>);
        let mut parts: HashMap<WatchId, Part> = HashMap::new();
        for watch in self.watches.of_all() {
            parts.insert(watch, (changed.clone(), removed.clone()));
        }
        for resource in changed {
            for watch in self.watches.of_name(&resource.name) {
                parts.entry(*watch).or_default().0.push(resource.clone());
            }
        }
        for name in removed {
            for watch in self.watches.of_name(&name) {
                parts.entry(*watch).or_default().1.push(Arc::clone(&name));
            }
        }
        let mut sorted: Vec<_> = parts.into_iter().collect();
        sorted.sort_unstable_by_key(|(watch, _)| *watch);
        let update =
            |(changed, removed): Part| Update::Delta { changed, removed, version: Arc::clone(version) };
        sorted.into_iter().map(|(watch, part)| (watch, update(part))).collect()
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ttls.next()
    }

    /// Resources whose time is up are gone, as if the control plane had removed them.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(WatchId, Update)> {
        let expired = self.ttls.expire(now);
        if expired.is_empty() {
            return Vec::new();
        }
        for name in &expired {
            self.accepted.remove(name);
        }
        if let Variant::Delta(delta) = &mut self.variant {
            for name in &expired {
                delta.forget(name);
            }
        }
        self.deltas(Vec::new(), expired, &"".into())
    }

    pub(super) fn watches(&self) -> Vec<WatchId> {
        self.watches.ids()
    }
}

impl Answer {
    fn to(nonce: String, version: &Arc<str>) -> Self {
        Self { nonce, version: Arc::clone(version), versions: Vec::new(), accepted: Vec::new() }
    }
}

impl Decoded {
    fn resource(&self) -> Option<Resource> {
        let tree = self.tree.clone()?;
        Some(Resource { name: Arc::clone(&self.name), version: Arc::clone(&self.version), tree })
    }
}

/// There is something, and none of it is news.
fn only_heartbeats(decoded: &[Decoded]) -> bool {
    !decoded.is_empty() && decoded.iter().all(|resource| resource.heartbeat)
}

/// What is more than a heartbeat.
fn news(decoded: &[Decoded]) -> Vec<Resource> {
    decoded.iter().filter(|resource| !resource.heartbeat).filter_map(Decoded::resource).collect()
}
