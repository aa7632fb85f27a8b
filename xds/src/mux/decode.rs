//! From the bytes of resources to trees.
//!
//! State-of-the-world responses repeat what is known already. Who got a tree keeps it; while it does, the same bytes become
//! the very same tree again, which costs next to nothing, and whoever compares trees can compare their addresses first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use underpass_core::config::{MessageDecoder, Node};
use xxhash_rust::xxh64::xxh64;

use crate::{
    proto::{Any, Resource},
    resource_type::{message_name, source},
};

/// A resource, as the control plane sent it.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) ttl: Option<Duration>,
    /// In a heartbeat, what was there before, if somebody still has it.
    pub(super) tree: Option<Arc<Node>>,
    /// It says no more than that what was there before is still good.
    pub(super) heartbeat: bool,
    /// What it was made of; empty in a heartbeat.
    pub(super) bytes: Bytes,
}

/// Decodes resources, and remembers what came of them.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    messages: MessageDecoder,
    /// By type and name.
    known: HashMap<Arc<str>, HashMap<Arc<str>, Known>>,
}

#[derive(Debug)]
struct Known {
    hash: u64,
    length: usize,
    tree: Weak<Node>,
}

impl Decoder {
    /// All resources of a state-of-the-world response.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn state(
        &mut self,
        type_url: &str,
        resources: Vec<Any>,
        version: &Arc<str>,
    ) -> Result<Vec<Decoded>, String> {
        let mut problems = Vec::new();
        let mut decoded = Vec::with_capacity(resources.len());
        for (index, any) in resources.into_iter().enumerate() {
            match self.of_state(type_url, any, version, index) {
                Ok(resource) => decoded.push(resource),
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(known) = self.known.get_mut(type_url) {
            known.retain(|_, known| known.tree.strong_count() > 0);
        }
        conclude(decoded, &problems)
    }

    fn of_state(
        &mut self,
        type_url: &str,
        any: Any,
        version: &Arc<str>,
        index: usize,
    ) -> Result<Decoded, String> {
        if message_name(&any.type_url) == Resource::TYPE_NAME {
            let resource =
                Resource::decode(any.value).map_err(|error| format!("resources[{index}]: {error}"))?;
            return self.wrapped(type_url, &resource, Some(version), index);
        }
        let name: Arc<str> = name_in(&any.value).unwrap_or_default().into();
        check_type(type_url, &any.type_url).map_err(|problem| about(type_url, &name, index, &problem))?;
        let tree = self.tree(type_url, &name, &any, index)?;
        let version = Arc::clone(version);
        Ok(Decoded { name, version, ttl: None, tree: Some(tree), heartbeat: false, bytes: any.value })
    }

    /// The resources of a delta response. No name may occur twice, be it added or `removed`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn delta(
        &mut self,
        type_url: &str,
        resources: Vec<Resource>,
        removed: &[Arc<str>],
    ) -> Result<Vec<Decoded>, String> {
        let mut problems = Vec::new();
        let mut names: HashSet<Arc<str>> = HashSet::new();
        let mut decoded = Vec::with_capacity(resources.len());
        for (index, resource) in resources.into_iter().enumerate() {
            // An alias that nothing is behind comes without a resource.
            if resource.resource.is_none() && !resource.aliases.is_empty() {
                continue;
            }
            match self.wrapped(type_url, &resource, None, index) {
                Ok(resource) if names.insert(Arc::clone(&resource.name)) => decoded.push(resource),
                Ok(resource) => {
                    problems.push(format!(
                        "duplicate name {} found among added/updated resources",
                        resource.name
                    ));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let known = self.known.get_mut(type_url);
        for name in removed.iter().filter(|name| !names.insert(Arc::clone(name))) {
            problems.push(format!("duplicate name {name} found in the union of added+removed resources"));
        }
        if let Some(known) = known {
            removed.iter().for_each(|name| _ = known.remove(name));
        }
        conclude(decoded, &problems)
    }

    fn wrapped(
        &mut self,
        type_url: &str,
        resource: &Resource,
        version: Option<&Arc<str>>,
        index: usize,
    ) -> Result<Decoded, String> {
        let in_body = || resource.resource.as_ref().and_then(|any| name_in(&any.value)).unwrap_or_default();
        let name: Arc<str> =
            if resource.name.is_empty() { in_body().into() } else { resource.name.as_str().into() };
        let wrong = |problem: &str| about(type_url, &name, index, problem);
        let ttl = match resource.ttl {
            None => None,
            Some(ttl) => Some(ttl.to_std().ok_or_else(|| wrong("its ttl is no time"))?),
        };
        let tree = match &resource.resource {
            None if ttl.is_some() => {
                let known = self.known.get(type_url).and_then(|known| known.get(&name));
                known.and_then(|known| known.tree.upgrade())
            }
            None => return Err(wrong("there is no resource in it")),
            Some(any) => {
                check_type(type_url, &any.type_url).map_err(|problem| wrong(&problem))?;
                Some(self.tree(type_url, &name, any, index)?)
            }
        };
        let heartbeat = resource.resource.is_none();
        let version = version.map_or_else(|| resource.version.as_str().into(), Arc::clone);
        let bytes = resource.resource.as_ref().map(|any| any.value.clone()).unwrap_or_default();
        Ok(Decoded { name, version, ttl, tree, heartbeat, bytes })
    }

    /// A resource that was decoded before, from its bytes.
    pub(super) fn again(&mut self, type_url: &str, name: &Arc<str>, bytes: &Bytes) -> Option<Arc<Node>> {
        let any = Any { type_url: type_url.to_owned(), value: bytes.clone() };
        self.tree(type_url, name, &any, 0).ok()
    }

    fn tree(
        &mut self,
        type_url: &str,
        name: &Arc<str>,
        any: &Any,
        index: usize,
    ) -> Result<Arc<Node>, String> {
        let (hash, length) = (xxh64(&any.value, 0), any.value.len());
        let known = match self.known.get_mut(type_url) {
            Some(known) => known,
            None => self.known.entry(type_url.into()).or_default(),
        };
        let same = known.get(name).filter(|known| known.hash == hash && known.length == length);
        if let Some(tree) = same.and_then(|known| known.tree.upgrade()) {
            return Ok(tree);
        }
        let tree = self.messages.decode(&source(type_url, name), message_name(type_url), &any.value);
        let tree = tree.map_err(|error| about(type_url, name, index, &error.to_string()))?;
        known.insert(Arc::clone(name), Known { hash, length, tree: Arc::downgrade(&tree) });
        Ok(tree)
    }
}

fn conclude(decoded: Vec<Decoded>, problems: &[String]) -> Result<Vec<Decoded>, String> {
    if problems.is_empty() { Ok(decoded) } else { Err(problems.join("\n")) }
}

/// Says which resource a problem is about: by its name, or if it has none, or none that could be read, by its place.
fn about(type_url: &str, name: &str, index: usize, problem: &str) -> String {
    if name.is_empty() {
        return format!("resources[{index}]: {problem}");
    }
    format!("{}: {problem}", source(type_url, name))
}

fn check_type(expected: &str, found: &str) -> Result<(), String> {
    if message_name(expected) == message_name(found) {
        return Ok(());
    }
    Err(format!("its type {found} does not match the type {expected} of the response"))
}

/// The name of a resource: the first field of every message that is one.
fn name_in(bytes: &Bytes) -> Option<String> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Named::decode(bytes.clone()).ok().map(|named| named.name).filter(|name| !name.is_empty())
}
