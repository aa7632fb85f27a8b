//! Which filter chain serves a connection: a tree of what the chains ask for, walked once per connection.
//!
//! The order of the steps, and that each step keeps only its most specific match and never goes back, is Envoy's:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>.

#[cfg(test)]
mod tests;

use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use underpass_core::address::Address;

/// What one filter chain asks of a connection. What is empty or `None` asks nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Criteria {
    pub(crate) destination_port: Option<u16>,
    /// Where the connection was meant to go.
    pub(crate) prefix_ranges: Vec<IpNet>,
    /// In lower case; `*.example.com` stands for every name that ends in `.example.com`.
    pub(crate) server_names: Vec<String>,
    pub(crate) transport_protocol: String,
    pub(crate) application_protocols: Vec<String>,
    /// The peer of the socket, whatever a listener filter says of the source.
    pub(crate) direct_source_prefix_ranges: Vec<IpNet>,
    pub(crate) source_type: SourceType,
    pub(crate) source_prefix_ranges: Vec<IpNet>,
    pub(crate) source_ports: Vec<u16>,
}

/// From where a connection has to come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum SourceType {
    #[default]
    Any,
    SameIpOrLoopback,
    External,
}

/// What is known of a connection when its filter chain is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) destination: &'a Address,
    /// In lower case; empty where the client named none.
    pub(crate) server_name: &'a str,
    pub(crate) transport_protocol: &'a str,
    /// What the client offers, the most wanted first.
    pub(crate) application_protocols: &'a [Arc<str>],
    pub(crate) direct_source: &'a Address,
    pub(crate) source: &'a Address,
}

/// Two chains whose lists overlap, so that some connection would have both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overlap;

/// The chains of a listener, by what they ask for. A chain is its number in the configuration.
#[derive(Debug, Default)]
pub(crate) struct FilterChainMatcher {
    by_destination_port: OwnOrAny<u16, ByPrefix<ByServerName>>,
}

type ByServerName = OwnOrAny<String, ByTransportProtocol>;
type ByTransportProtocol = OwnOrAny<String, ByApplicationProtocol>;
type ByApplicationProtocol = OwnOrAny<String, ByPrefix<BySourceType>>;
type BySourceType = OwnOrAny<SourceType, ByPrefix<BySourcePort>>;
type BySourcePort = OwnOrAny<u16, usize>;

impl FilterChainMatcher {
    /// Adds a chain under every combination of what it asks for.
    pub(crate) fn add(&mut self, criteria: &Criteria, chain: usize) -> Result<(), Overlap> {
        let by_destination = self.by_destination_port.entry(port(criteria.destination_port));
        for range in ranges_or_any(&criteria.prefix_ranges) {
            let by_name = by_destination.entry(range);
            for name in words_or_any(&criteria.server_names) {
                let by_transport = by_name.entry(word(suffix_or_name(name)));
                let by_application = by_transport.entry(word(&criteria.transport_protocol));
                for protocol in words_or_any(&criteria.application_protocols) {
                    add_sources(by_application.entry(word(protocol)), criteria, chain)?;
                }
            }
        }
        Ok(())
    }

    /// The chain that serves every connection, where there is one that asks nothing, and no other.
    pub(crate) fn serves_all(&self) -> Option<usize> {
        let by_name = self.by_destination_port.only()?.only()?;
        let by_source_type = by_name.only()?.only()?.only()?.only()?;
        by_source_type.only()?.only()?.only().copied()
    }

    /// The chain that serves such a connection, if one does.
    pub(crate) fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        // Once a port has chains of its own, those of other ports are out of the question.
        let by_destination = self.by_destination_port.find(facts.destination.port().as_ref())?;
        let by_name = by_destination.longest(facts.destination)?;
        let by_transport = by_name.find_first(names_to_try(facts.server_name))?;
        let by_application = by_transport.find(Some(facts.transport_protocol))?;
        let offered = facts.application_protocols.iter().map(|protocol| &**protocol);
        let by_direct_source = by_application.find_first(offered)?;
        let by_source = by_source_type(by_direct_source.longest(facts.direct_source)?, facts)?;
        by_source.longest(facts.source)?.find(facts.source.port().as_ref()).copied()
    }
}

fn add_sources(tree: &mut ByPrefix<BySourceType>, criteria: &Criteria, chain: usize) -> Result<(), Overlap> {
    let source_type = Some(criteria.source_type).filter(|kind| *kind != SourceType::Any);
    for direct in ranges_or_any(&criteria.direct_source_prefix_ranges) {
        let by_source = tree.entry(direct).entry(source_type);
        for source in ranges_or_any(&criteria.source_prefix_ranges) {
            let by_port = by_source.entry(source);
            let any = [0];
            let ports = if criteria.source_ports.is_empty() { &any[..] } else { &criteria.source_ports };
            for each in ports {
                by_port.insert(port(Some(*each)), chain)?;
            }
        }
    }
    Ok(())
}

/// A port; 0 is any.
fn port(number: Option<u16>) -> Option<u16> {
    number.filter(|number| *number != 0)
}

/// A word; the empty one is any.
fn word(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn ranges_or_any(ranges: &[IpNet]) -> Vec<Option<IpNet>> {
    if ranges.is_empty() { vec![None] } else { ranges.iter().copied().map(Some).collect() }
}

fn words_or_any(words: &[String]) -> Vec<&str> {
    if words.is_empty() { vec![""] } else { words.iter().map(String::as_str).collect() }
}

/// `.example.com` for `*.example.com`: the key under which [`names_to_try`] looks for it.
fn suffix_or_name(name: &str) -> &str {
    if name.starts_with("*.") { &name[1..] } else { name }
}

/// The name itself, then its suffixes (`.example.com`, `.com` for `www.example.com`).
fn names_to_try(name: &str) -> impl Iterator<Item = &str> {
    // A dot at either end separates no labels.
    let inner_dots = name.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0 && at + 1 < name.len());
    std::iter::once(name).chain(inner_dots.map(|at| &name[at..]))
}

fn by_source_type<'t>(tree: &'t BySourceType, facts: &Facts<'_>) -> Option<&'t ByPrefix<BySourcePort>> {
    if tree.own.is_empty() {
        return tree.any.as_ref();
    }
    let own = if is_same_ip_or_loopback(facts) { SourceType::SameIpOrLoopback } else { SourceType::External };
    tree.find(Some(&own))
}

/// Envoy's `Network::Utility::isSameIpOrLoopback`: pipes, loopback, and an address that talks to itself.
fn is_same_ip_or_loopback(facts: &Facts<'_>) -> bool {
    match facts.source {
        Address::Pipe(_) => true,
        Address::Socket(source) => {
            source.ip().is_loopback()
                || facts.destination.socket().is_some_and(|destination| destination.ip() == source.ip())
        }
        Address::Internal(_) => false,
    }
}

/// Values by key, and one for what has none of its own. A level of the tree that no chain asks for costs no hashing.
#[derive(Debug)]
struct OwnOrAny<K, T> {
    own: HashMap<K, T>,
    any: Option<T>,
}

impl<K, T> Default for OwnOrAny<K, T> {
    fn default() -> Self {
        Self { own: HashMap::new(), any: None }
    }
}

impl<K: Eq + Hash, T> OwnOrAny<K, T> {
    fn entry(&mut self, key: Option<K>) -> &mut T
    where
        T: Default,
    {
        match key {
            Some(key) => self.own.entry(key).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }

    fn insert(&mut self, key: Option<K>, value: T) -> Result<(), Overlap> {
        let before = match key {
            Some(key) => self.own.insert(key, value),
            None => self.any.replace(value),
        };
        if before.is_some() { Err(Overlap) } else { Ok(()) }
    }

    /// The value of everything, if no key has one of its own.
    fn only(&self) -> Option<&T> {
        if self.own.is_empty() { self.any.as_ref() } else { None }
    }

    fn find<Q: Eq + Hash + ?Sized>(&self, key: Option<&Q>) -> Option<&T>
    where
        K: Borrow<Q>,
    {
        self.find_first(key.into_iter())
    }

    /// The value of the first key that has one.
    fn find_first<'q, Q: Eq + Hash + ?Sized + 'q>(&self, mut keys: impl Iterator<Item = &'q Q>) -> Option<&T>
    where
        K: Borrow<Q>,
    {
        let own = if self.own.is_empty() { None } else { keys.find_map(|key| self.own.get(key)) };
        own.or(self.any.as_ref())
    }
}

/// Values by address range; the longest range that holds an address counts.
#[derive(Debug)]
struct ByPrefix<T> {
    values: OwnOrAny<IpNet, T>,
    /// The lengths that occur, longest first.
    lengths: BTreeSet<Reverse<u8>>,
}

impl<T> Default for ByPrefix<T> {
    fn default() -> Self {
        Self { values: OwnOrAny::default(), lengths: BTreeSet::new() }
    }
}

impl<T: Default> ByPrefix<T> {
    fn entry(&mut self, range: Option<IpNet>) -> &mut T {
        let range = range.map(|range| range.trunc());
        self.lengths.extend(range.map(|range| Reverse(range.prefix_len())));
        self.values.entry(range)
    }
}

impl<T> ByPrefix<T> {
    /// The value of all addresses, if no range has one of its own.
    fn only(&self) -> Option<&T> {
        self.values.only()
    }

    fn longest(&self, address: &Address) -> Option<&T> {
        if self.lengths.is_empty() {
            return self.values.any.as_ref();
        }
        // What has no IP address counts as 255.255.255.255 in Envoy: it matches only what matches everything.
        let ip = address.socket().map_or(IpAddr::V4(Ipv4Addr::BROADCAST), |socket: SocketAddr| socket.ip());
        let ranges = self.lengths.iter().filter_map(|length| IpNet::new(ip, length.0).ok());
        let ranged = ranges.map(|range| range.trunc()).find_map(|range| self.values.own.get(&range));
        ranged.or(self.values.any.as_ref())
    }
}
