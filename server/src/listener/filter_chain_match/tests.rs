use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> Address {
    Address::Socket(text.parse().unwrap())
}

/// A connection from 10.1.2.3:4000 to 192.0.2.7:443 that asks for nothing.
struct Client {
    destination: Address,
    server_name: &'static str,
    transport_protocol: &'static str,
    application_protocols: Vec<Arc<str>>,
    direct_source: Address,
    source: Address,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            destination: ip("192.0.2.7:443"),
            server_name: "",
            transport_protocol: "raw_buffer",
            application_protocols: Vec::new(),
            direct_source: ip("10.1.2.3:4000"),
            source: ip("10.1.2.3:4000"),
        }
    }
}

impl Client {
    fn to(text: &str) -> Self {
        Self { destination: ip(text), ..Self::default() }
    }

    fn from(text: &str) -> Self {
        Self { source: ip(text), direct_source: ip(text), ..Self::default() }
    }

    fn asks_for(server_name: &'static str) -> Self {
        Self { server_name, ..Self::default() }
    }

    fn offers(protocols: &[&str]) -> Self {
        Self {
            application_protocols: protocols.iter().map(|each| Arc::from(*each)).collect(),
            ..Self::default()
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            destination: &self.destination,
            server_name: self.server_name,
            transport_protocol: self.transport_protocol,
            application_protocols: &self.application_protocols,
            direct_source: &self.direct_source,
            source: &self.source,
        }
    }

    fn chain_of(&self, chains: &[Criteria]) -> Option<usize> {
        let matcher = matcher(chains).unwrap();
        let found = matcher.find(&self.facts());
        if let Some(all) = matcher.serves_all() {
            assert_eq!(found, Some(all));
        }
        found
    }
}

fn matcher(chains: &[Criteria]) -> Result<FilterChainMatcher, Overlap> {
    let mut matcher = FilterChainMatcher::default();
    chains.iter().enumerate().try_for_each(|(at, chain)| matcher.add(chain, at))?;
    Ok(matcher)
}

#[test]
fn a_chain_serves_all_if_it_asks_nothing_and_is_alone() {
    let alone = |criteria: Criteria| matcher(&[criteria]).unwrap().serves_all();
    assert_eq!(alone(Criteria::default()), Some(0));
    assert_eq!(matcher(&[]).unwrap().serves_all(), None);
    let asking = [
        Criteria { destination_port: Some(80), ..Criteria::default() },
        Criteria { prefix_ranges: nets(&["10.0.0.0/8"]), ..Criteria::default() },
        Criteria { server_names: words(&["example.com"]), ..Criteria::default() },
        Criteria { transport_protocol: "tls".into(), ..Criteria::default() },
        Criteria { application_protocols: words(&["h2"]), ..Criteria::default() },
        Criteria { direct_source_prefix_ranges: nets(&["10.0.0.0/8"]), ..Criteria::default() },
        Criteria { source_type: SourceType::External, ..Criteria::default() },
        Criteria { source_prefix_ranges: nets(&["10.0.0.0/8"]), ..Criteria::default() },
        Criteria { source_ports: vec![80], ..Criteria::default() },
    ];
    for criteria in asking {
        assert_eq!(alone(criteria.clone()), None, "{criteria:?}");
        assert_eq!(matcher(&[Criteria::default(), criteria]).unwrap().serves_all(), None);
    }
}

fn nets(ranges: &[&str]) -> Vec<IpNet> {
    ranges.iter().map(|range| range.parse().unwrap()).collect()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn any() -> Criteria {
    Criteria::default()
}

fn port(port: u16) -> Criteria {
    Criteria { destination_port: Some(port), ..any() }
}

fn to(ranges: &[&str]) -> Criteria {
    Criteria { prefix_ranges: nets(ranges), ..any() }
}

fn names(names: &[&str]) -> Criteria {
    Criteria { server_names: words(names), ..any() }
}

fn protocols(protocols: &[&str]) -> Criteria {
    Criteria { application_protocols: words(protocols), ..any() }
}

fn from_type(source_type: SourceType) -> Criteria {
    Criteria { source_type, ..any() }
}

#[test]
fn a_chain_that_asks_nothing_takes_everything() {
    assert_eq!(Client::default().chain_of(&[any()]), Some(0));
    assert_eq!(Client::default().chain_of(&[]), None);
}

#[test]
fn a_port_of_its_own_rules_out_chains_of_any_port() {
    assert_eq!(Client::to("192.0.2.7:443").chain_of(&[any(), port(443)]), Some(1));
    assert_eq!(Client::to("192.0.2.7:80").chain_of(&[any(), port(443)]), Some(0));
    // No way back: port 443 was chosen, and its chain wants another name.
    let only_a = Criteria { server_names: words(&["a.test"]), ..port(443) };
    assert_eq!(Client::asks_for("b.test").chain_of(&[any(), only_a]), None);
}

#[test]
fn the_longest_destination_range_wins() {
    let chains =
        [any(), to(&["192.0.0.0/8"]), to(&["192.0.2.0/24", "198.51.100.0/24"]), to(&["2001:db8::/32"])];
    for (destination, chain) in [
        ("192.0.2.7:1", 2),
        ("198.51.100.1:1", 2),
        ("192.1.1.1:1", 1),
        ("203.0.113.1:1", 0),
        ("[2001:db8::1]:1", 3),
        ("[2001:db9::1]:1", 0),
    ] {
        assert_eq!(Client::to(destination).chain_of(&chains), Some(chain), "{destination}");
    }
}

#[test]
fn a_range_is_meant_as_a_whole_even_if_its_address_has_host_bits() {
    assert_eq!(Client::to("192.0.2.7:1").chain_of(&[to(&["192.0.2.99/24"])]), Some(0));
}

#[test]
fn what_is_no_ip_address_matches_only_ranges_of_everything() {
    let pipe =
        Client { destination: Address::Pipe(Arc::from(std::path::Path::new("/x"))), ..Client::default() };
    assert_eq!(pipe.chain_of(&[to(&["10.0.0.0/8"])]), None);
    assert_eq!(pipe.chain_of(&[to(&["0.0.0.0/0"])]), Some(0));
    let internal = Client { destination: Address::internal("inner", "ep"), ..Client::default() };
    assert_eq!(internal.chain_of(&[port(443)]), None);
    assert_eq!(internal.chain_of(&[any()]), Some(0));
}

#[test]
fn an_exact_name_goes_before_its_suffixes_and_long_suffixes_before_short_ones() {
    let chains = [any(), names(&["*.com"]), names(&["*.example.com"]), names(&["www.example.com"])];
    for (name, chain) in [
        ("www.example.com", 3),
        ("api.example.com", 2),
        ("a.b.example.com", 2),
        ("example.com", 1),
        ("com", 0),
        ("", 0),
        ("example.org", 0),
    ] {
        assert_eq!(Client::asks_for(name).chain_of(&chains), Some(chain), "{name}");
    }
}

#[test]
fn the_transport_protocol_is_matched_or_ignored() {
    let tls = Criteria { transport_protocol: "tls".into(), ..any() };
    let client = Client { transport_protocol: "tls", ..Client::default() };
    assert_eq!(client.chain_of(&[any(), tls.clone()]), Some(1));
    assert_eq!(Client::default().chain_of(&[any(), tls.clone()]), Some(0));
    assert_eq!(Client::default().chain_of(&[tls]), None);
}

#[test]
fn the_first_protocol_that_the_client_offers_wins() {
    let chains = [any(), protocols(&["h2"]), protocols(&["http/1.1", "http/1.0"])];
    assert_eq!(Client::offers(&["h2", "http/1.1"]).chain_of(&chains), Some(1));
    assert_eq!(Client::offers(&["http/1.1", "h2"]).chain_of(&chains), Some(2));
    assert_eq!(Client::offers(&["spdy"]).chain_of(&chains), Some(0));
    assert_eq!(Client::default().chain_of(&chains), Some(0));
}

#[test]
fn the_direct_source_is_the_peer_of_the_socket() {
    let direct = Criteria { direct_source_prefix_ranges: nets(&["10.0.0.0/8"]), ..any() };
    let relayed = Client { source: ip("203.0.113.9:1"), ..Client::default() };
    assert_eq!(relayed.chain_of(std::slice::from_ref(&direct)), Some(0));
    assert_eq!(Client::from("203.0.113.9:1").chain_of(&[direct]), None);
}

#[test]
fn sources_are_told_apart_by_type() {
    let chains = [any(), from_type(SourceType::SameIpOrLoopback), from_type(SourceType::External)];
    assert_eq!(Client::from("127.0.0.1:1").chain_of(&chains), Some(1));
    assert_eq!(Client::from("[::1]:1").chain_of(&chains), Some(1));
    assert_eq!(Client::from("192.0.2.7:1").chain_of(&chains), Some(1), "the address that it goes to");
    assert_eq!(Client::from("10.1.2.3:1").chain_of(&chains), Some(2));
    assert_eq!(Client::from("10.1.2.3:1").chain_of(&chains[..2]), Some(0));
    let pipe = Client { source: Address::Pipe(Arc::from(std::path::Path::new("/x"))), ..Client::default() };
    assert_eq!(pipe.chain_of(&chains), Some(1));
}

#[test]
fn the_longest_source_range_wins_and_then_the_port() {
    let chains = [
        any(),
        Criteria { source_prefix_ranges: nets(&["10.0.0.0/8"]), ..any() },
        Criteria { source_prefix_ranges: nets(&["10.1.2.0/24"]), source_ports: vec![4000, 4001], ..any() },
    ];
    assert_eq!(Client::from("10.1.2.3:4001").chain_of(&chains), Some(2));
    assert_eq!(Client::from("10.9.2.3:4001").chain_of(&chains), Some(1));
    assert_eq!(Client::from("11.1.2.3:4001").chain_of(&chains), Some(0));
    // No way back: the range was chosen, and it has no such port.
    assert_eq!(Client::from("10.1.2.3:9").chain_of(&chains), None);
}

#[test]
fn chains_that_could_serve_the_same_connection_are_refused() {
    assert_eq!(matcher(&[any(), any()]).unwrap_err(), Overlap);
    assert_eq!(matcher(&[names(&["a", "b"]), names(&["b", "c"])]).unwrap_err(), Overlap);
    assert_eq!(matcher(&[to(&["10.0.0.0/8", "10.1.1.1/8"])]).unwrap_err(), Overlap);
    assert!(matcher(&[names(&["a"]), names(&["b"]), any()]).is_ok());
}

// ── the same by a matcher that is too simple to be wrong ─────────────────────────────────────

/// A chain with one value in each dimension, and its number.
struct Rule {
    port: u16,
    to: Option<IpNet>,
    name: String,
    transport: String,
    application: String,
    direct: Option<IpNet>,
    source_type: SourceType,
    from: Option<IpNet>,
    from_port: u16,
    chain: usize,
}

fn one_by_one(chains: &[Criteria]) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (chain, all) in chains.iter().enumerate() {
        let ports = if all.source_ports.is_empty() { vec![0] } else { all.source_ports.clone() };
        for to in ranges_or_any(&all.prefix_ranges) {
            for name in words_or_any(&all.server_names) {
                for application in words_or_any(&all.application_protocols) {
                    for direct in ranges_or_any(&all.direct_source_prefix_ranges) {
                        for from in ranges_or_any(&all.source_prefix_ranges) {
                            rules.extend(ports.iter().map(|from_port| Rule {
                                port: all.destination_port.unwrap_or(0),
                                to,
                                name: name.to_owned(),
                                transport: all.transport_protocol.clone(),
                                application: application.to_owned(),
                                direct,
                                source_type: all.source_type,
                                from,
                                from_port: *from_port,
                                chain,
                            }));
                        }
                    }
                }
            }
        }
    }
    rules
}

fn rank_port(wanted: u16, port: Option<u16>) -> Option<usize> {
    if wanted == 0 { Some(0) } else { (Some(wanted) == port).then_some(1) }
}

fn rank_range(wanted: Option<IpNet>, address: &Address) -> Option<usize> {
    let ip = address.socket().unwrap().ip();
    wanted.map_or(Some(0), |range| range.contains(&ip).then_some(usize::from(range.prefix_len()) + 1))
}

fn rank_name(wanted: &str, name: &str) -> Option<usize> {
    match wanted.strip_prefix('*') {
        _ if wanted.is_empty() => Some(0),
        Some(suffix) => (name.len() > suffix.len() && name.ends_with(suffix)).then_some(suffix.len()),
        None => (wanted == name).then_some(usize::MAX),
    }
}

fn rank_offer(wanted: &str, offered: &[Arc<str>]) -> Option<usize> {
    let place = || offered.iter().position(|each| **each == *wanted);
    if wanted.is_empty() { Some(0) } else { place().map(|at| offered.len() - at) }
}

fn rank_type(wanted: SourceType, facts: &Facts<'_>) -> Option<usize> {
    match wanted {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => is_same_ip_or_loopback(facts).then_some(1),
        SourceType::External => (!is_same_ip_or_loopback(facts)).then_some(1),
    }
}

/// Step by step: only the rules that match best stay.
fn simple_find(chains: &[Criteria], facts: &Facts<'_>) -> Option<usize> {
    type Rank<'r> = &'r dyn Fn(&Rule) -> Option<usize>;
    let steps: [Rank<'_>; 9] = [
        &|rule| rank_port(rule.port, facts.destination.port()),
        &|rule| rank_range(rule.to, facts.destination),
        &|rule| rank_name(&rule.name, facts.server_name),
        &|rule| rank_offer(&rule.transport, &[facts.transport_protocol.into()]),
        &|rule| rank_offer(&rule.application, facts.application_protocols),
        &|rule| rank_range(rule.direct, facts.direct_source),
        &|rule| rank_type(rule.source_type, facts),
        &|rule| rank_range(rule.from, facts.source),
        &|rule| rank_port(rule.from_port, facts.source.port()),
    ];
    let mut rules = one_by_one(chains);
    for rank in steps {
        let best = rules.iter().filter_map(rank).max()?;
        rules.retain(|rule| rank(rule) == Some(best));
    }
    assert!(rules.iter().all(|rule| rule.chain == rules[0].chain), "the matcher should have refused these");
    rules.first().map(|rule| rule.chain)
}

fn ranges() -> impl Strategy<Value = Vec<IpNet>> {
    let range =
        prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "127.0.0.0/8", "0.0.0.0/0"]);
    prop::collection::btree_set(range, 0..3).prop_map(|set| nets(&set.into_iter().collect::<Vec<_>>()))
}

fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(all, 0..=2).prop_map(|list| words(&list))
}

fn criteria() -> impl Strategy<Value = Criteria> {
    let source_type =
        prop::sample::select(vec![SourceType::Any, SourceType::SameIpOrLoopback, SourceType::External]);
    let destination = (prop::option::of(1..3_u16), ranges(), some_of(&["a.b.c", "*.b.c", "*.c", "b.c"]));
    let protocols = (prop::sample::select(vec!["", "tls"]), some_of(&["h2", "h1"]));
    let source = (ranges(), source_type, ranges(), prop::sample::subsequence(vec![7_u16, 8], 0..=2));
    (destination, protocols, source).prop_map(|(destination, protocols, source)| Criteria {
        destination_port: destination.0,
        prefix_ranges: destination.1,
        server_names: destination.2,
        transport_protocol: protocols.0.to_owned(),
        application_protocols: protocols.1,
        direct_source_prefix_ranges: source.0,
        source_type: source.1,
        source_prefix_ranges: source.2,
        source_ports: source.3,
    })
}

fn addresses(ports: std::ops::Range<u16>) -> impl Strategy<Value = Address> {
    let ips = prop::sample::select(vec!["10.1.2.3", "10.1.9.9", "10.9.9.9", "127.0.0.1", "192.0.2.1"]);
    (ips, ports).prop_map(|(host, port)| ip(&format!("{host}:{port}")))
}

proptest! {
    #[test]
    fn the_tree_finds_what_a_walk_over_all_rules_finds(
        all in prop::collection::vec(criteria(), 1..8),
        destination in addresses(1..4),
        server_name in prop::sample::select(vec!["", "a.b.c", "x.b.c", "b.c", "c"]),
        transport_protocol in prop::sample::select(vec!["tls", "raw_buffer"]),
        offered in prop::sample::select(vec![vec![], vec!["h2"], vec!["h1", "h2"], vec!["h3", "h2"]]),
        direct_source in addresses(1..2),
        source in addresses(6..9),
    ) {
        // Chains that overlap with earlier ones are left out, as a user would have to do.
        let mut chains = Vec::new();
        for chain in all {
            chains.push(chain);
            if matcher(&chains).is_err() {
                chains.pop();
            }
        }
        let application_protocols = offered.into_iter().map(Arc::from).collect();
        let client =
            Client { destination, server_name, transport_protocol, application_protocols, direct_source, source };
        prop_assert_eq!(client.chain_of(&chains), simple_find(&chains, &client.facts()));
    }
}
