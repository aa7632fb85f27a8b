//! Which filter chain serves a connection: a tree of what the chains ask for, walked once per connection.
//!
//! The order of the steps, and that each step keeps only its most specific match and never goes back, is Envoy's:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto#config-listener-v3-filterchainmatch>.

#[cfg(test)]
mod tests;

use std::{
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
    by_destination_port: HashMap<u16, ByPrefix<ByServerName>>,
}

type ByServerName = HashMap<String, ByTransportProtocol>;
type ByTransportProtocol = HashMap<String, ByApplicationProtocol>;
type ByApplicationProtocol = HashMap<String, ByPrefix<BySourceType>>;
type BySourceType = HashMap<SourceType, ByPrefix<BySourcePort>>;
type BySourcePort = HashMap<u16, usize>;

/// Stands for "no matter which" among keys that are ports; in those that are words it is the empty word.
const ANY_PORT: u16 = 0;

impl FilterChainMatcher {
    /// Adds a chain under every combination of what it asks for.
    pub(crate) fn add(&mut self, criteria: &Criteria, chain: usize) -> Result<(), Overlap> {
        let port = criteria.destination_port.unwrap_or(ANY_PORT);
        let by_destination = self.by_destination_port.entry(port).or_default();
        for range in ranges_or_any(&criteria.prefix_ranges) {
            let by_name = by_destination.entry(range);
            for name in words_or_any(&criteria.server_names) {
                let by_transport = by_name.entry(suffix_or_name(name).to_owned()).or_default();
                let by_application = by_transport.entry(criteria.transport_protocol.clone()).or_default();
                for protocol in words_or_any(&criteria.application_protocols) {
                    add_sources(by_application.entry(protocol.to_owned()).or_default(), criteria, chain)?;
                }
            }
        }
        Ok(())
    }

    /// The chain that serves such a connection, if one does.
    pub(crate) fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        // Once a port has chains of its own, those of other ports are out of the question.
        let own_port = facts.destination.port().and_then(|port| self.by_destination_port.get(&port));
        let by_destination = own_port.or_else(|| self.by_destination_port.get(&ANY_PORT))?;
        let by_name = by_destination.longest(facts.destination)?;
        let by_transport = names_to_try(facts.server_name).find_map(|name| by_name.get(name))?;
        let by_application = exact_or_any(by_transport, facts.transport_protocol)?;
        let offered = facts.application_protocols.iter().find_map(|protocol| by_application.get(&**protocol));
        let by_direct_source = offered.or_else(|| by_application.get(""))?;
        let by_source = by_source_type(by_direct_source.longest(facts.direct_source)?, facts)?;
        let by_port = by_source.longest(facts.source)?;
        let own_port = facts.source.port().and_then(|port| by_port.get(&port));
        own_port.or_else(|| by_port.get(&ANY_PORT)).copied()
    }
}

fn add_sources(tree: &mut ByPrefix<BySourceType>, criteria: &Criteria, chain: usize) -> Result<(), Overlap> {
    for direct in ranges_or_any(&criteria.direct_source_prefix_ranges) {
        let by_source = tree.entry(direct).entry(criteria.source_type).or_default();
        for source in ranges_or_any(&criteria.source_prefix_ranges) {
            let by_port = by_source.entry(source);
            let any = [ANY_PORT];
            let ports = if criteria.source_ports.is_empty() { &any[..] } else { &criteria.source_ports };
            for port in ports {
                if by_port.insert(*port, chain).is_some() {
                    return Err(Overlap);
                }
            }
        }
    }
    Ok(())
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

/// The name itself, then its suffixes (`.example.com`, `.com` for `www.example.com`), then any name.
fn names_to_try(name: &str) -> impl Iterator<Item = &str> {
    // A dot at either end separates no labels.
    let inner_dots = name.match_indices('.').map(|(at, _)| at).filter(|at| *at > 0 && at + 1 < name.len());
    std::iter::once(name).chain(inner_dots.map(|at| &name[at..])).chain(std::iter::once(""))
}

fn exact_or_any<'t, T>(tree: &'t HashMap<String, T>, word: &str) -> Option<&'t T> {
    tree.get(word).or_else(|| tree.get(""))
}

fn by_source_type<'t>(tree: &'t BySourceType, facts: &Facts<'_>) -> Option<&'t ByPrefix<BySourcePort>> {
    let own = if is_same_ip_or_loopback(facts) { SourceType::SameIpOrLoopback } else { SourceType::External };
    tree.get(&own).or_else(|| tree.get(&SourceType::Any))
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

/// Values by address range; the longest range that holds an address counts.
#[derive(Debug)]
struct ByPrefix<T> {
    /// `None` is no range at all.
    values: HashMap<Option<IpNet>, T>,
    /// The lengths that occur, longest first.
    lengths: BTreeSet<Reverse<u8>>,
}

impl<T> Default for ByPrefix<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), lengths: BTreeSet::new() }
    }
}

impl<T: Default> ByPrefix<T> {
    fn entry(&mut self, range: Option<IpNet>) -> &mut T {
        let range = range.map(|range| range.trunc());
        self.lengths.extend(range.map(|range| Reverse(range.prefix_len())));
        self.values.entry(range).or_default()
    }
}

impl<T> ByPrefix<T> {
    fn longest(&self, address: &Address) -> Option<&T> {
        // What has no IP address counts as 255.255.255.255 in Envoy: it matches only what matches everything.
        let ip = address.socket().map_or(IpAddr::V4(Ipv4Addr::BROADCAST), |socket: SocketAddr| socket.ip());
        let ranges = self.lengths.iter().filter_map(|length| IpNet::new(ip, length.0).ok());
        let ranged = ranges.map(|range| Some(range.trunc())).find_map(|range| self.values.get(&range));
        ranged.or_else(|| self.values.get(&None))
    }
}
