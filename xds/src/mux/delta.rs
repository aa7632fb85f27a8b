//! What the delta protocol remembers of a type.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    subscription::Answer,
    watches::{Change, Watches},
};
use crate::proto::{DeltaDiscoveryRequest, Node, Status};

/// Everything, as a name.
const WILDCARD: &str = "*";

/// Versions by resource, and what is to be said next.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// What is here, and in which version; it outlives the stream.
    versions: BTreeMap<Arc<str>, Arc<str>>,
    /// Whether a request was sent on this stream.
    begun: bool,
    /// Whether, on this stream, everything was asked for by asking for nothing in particular.
    legacy_wildcard: bool,
    /// What the control plane takes to be subscribed to on this stream.
    told: BTreeSet<Arc<str>>,
    subscribe: BTreeSet<Arc<str>>,
    unsubscribe: BTreeSet<Arc<str>>,
    /// Responses that are not answered yet.
    answers: VecDeque<(String, Option<Status>)>,
}

impl Delta {
    pub(super) fn stream_opened(&mut self) {
        self.begun = false;
        self.legacy_wildcard = false;
        self.told.clear();
        self.subscribe.clear();
        self.unsubscribe.clear();
        self.answers.clear();
    }

    pub(super) fn interest_changed(&mut self, change: Change, watches: &Watches) {
        let Change { added, removed, wildcard } = change;
        for name in removed {
            if !watches.is_wildcard() {
                self.versions.remove(&name);
            }
            self.subscribe.remove(&name);
            // What was never said need not be taken back.
            if self.told.contains(&name) {
                self.unsubscribe.insert(name);
            }
        }
        for name in added {
            self.unsubscribe.remove(&name);
            self.subscribe.insert(name);
        }
        if wildcard {
            let (to, from) = if watches.is_wildcard() {
                (&mut self.subscribe, &mut self.unsubscribe)
            } else {
                (&mut self.unsubscribe, &mut self.subscribe)
            };
            from.remove(WILDCARD);
            to.insert(WILDCARD.into());
            if !watches.is_wildcard() {
                self.versions.retain(|name, _| watches.is_named(name));
            }
        }
        // Once there is a name, no names no longer means everything.
        if self.begun && self.legacy_wildcard && watches.is_wildcard() && !self.subscribe.is_empty() {
            self.legacy_wildcard = false;
            self.subscribe.insert(WILDCARD.into());
        }
    }

    /// The next answer, and what became of the subscription.
    pub(super) fn request(
        &mut self,
        watches: &Watches,
        type_url: &str,
        node: Option<Node>,
    ) -> Option<DeltaDiscoveryRequest> {
        let mut request = DeltaDiscoveryRequest { type_url: type_url.to_owned(), node, ..Default::default() };
        if let Some((nonce, error)) = self.answers.pop_front() {
            request.response_nonce = nonce;
            request.error_detail = error;
        }
        if self.begun {
            if request.response_nonce.is_empty() && self.subscribe.is_empty() && self.unsubscribe.is_empty() {
                return None;
            }
            let (new, old) = (std::mem::take(&mut self.subscribe), std::mem::take(&mut self.unsubscribe));
            old.iter().for_each(|name| _ = self.told.remove(name));
            self.told.extend(new.iter().cloned());
            request.resource_names_subscribe = names(&new);
            request.resource_names_unsubscribe = names(&old);
            return Some(request);
        }
        if watches.is_empty() {
            return None;
        }
        self.begun = true;
        self.subscribe.clear();
        self.unsubscribe.clear();
        self.told = watches.names().cloned().collect();
        request.resource_names_subscribe = names(&self.told);
        if watches.is_wildcard() {
            self.legacy_wildcard = request.resource_names_subscribe.is_empty();
            if !self.legacy_wildcard {
                request.resource_names_subscribe.push(WILDCARD.to_owned());
            }
        }
        let versions = self.versions.iter().map(|(name, version)| (name.to_string(), version.to_string()));
        request.initial_resource_versions = versions.collect();
        Some(request)
    }

    pub(super) fn has_more(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.answers.len()
    }

    /// A response was accepted, or not. The versions of a rejected one do not count: they are sent again on the next
    /// stream.
    pub(super) fn settle(&mut self, answer: Answer, error: Option<Status>, watches: &Watches) {
        if error.is_none() {
            for (name, version) in answer.versions {
                match version.filter(|_| watches.is_wildcard() || watches.is_named(&name)) {
                    Some(version) => _ = self.versions.insert(name, version),
                    None => self.forget(&name),
                }
            }
        }
        self.answers.push_back((answer.nonce, error));
    }

    /// A resource is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.versions.remove(name);
    }
}

fn names(names: &BTreeSet<Arc<str>>) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
