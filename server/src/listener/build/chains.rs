//! Building filter chains.

use std::sync::Arc;

use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{CidrRange, ConfigPath, ExtensionConfig, Node, known},
    drain::DrainSignal,
    extension::Category,
    network_filter::{NetworkFilter, NetworkFilterConfig},
    transport_socket::DownstreamTransportSocketConfig,
};

use super::{
    super::{
        ListenerBase,
        filter_chain::{FilterChain, FilterChains},
        filter_chain_match::{Criteria, FilterChainMatcher, Overlap, SourceType},
    },
    Builder,
};
use crate::config::filter_chain::{self, ConnectionSourceType, FilterChainMatch};

pub(super) fn build(
    builder: &Builder<'_>,
    context: &BuildContext<'_>,
    base: &ListenerBase,
    previous: Option<&FilterChains>,
) -> Result<FilterChains, BuildError> {
    let config = builder.config;
    // Envoy names a listener by its addresses here.
    let addresses = base.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if config.filter_chains.is_empty() && config.default_filter_chain.is_none() {
        let message = format!("error adding listener '{addresses}': no filter chains specified");
        return Err(BuildError::at(builder.path.clone(), message));
    }
    let path = builder.path.field("filter_chains");
    refuse_same_matches(&config.filter_chains, &path, builder.node, &addresses)?;
    let nodes = field(builder.node, "filter_chains").map_or(&[][..], |list| list.elements());
    let mut built =
        FilterChains { matcher: FilterChainMatcher::default(), chains: Vec::new(), default: None };
    for (at, chain) in config.filter_chains.iter().enumerate() {
        let path = path.index(at);
        let criteria = criteria(&chain.filter_chain_match, &addresses).map_err(|message| {
            BuildError::at(path.field("filter_chain_match").field("server_names"), message)
        })?;
        built.matcher.add(&criteria, at).map_err(|Overlap| {
            let what = "multiple filter chains with overlapping matching rules are defined";
            BuildError::at(
                path.field("filter_chain_match"),
                format!("error adding listener '{addresses}': {what}"),
            )
        })?;
        built.chains.push(build_or_reuse(context, chain, &path, nodes.get(at), previous)?);
    }
    if let Some(chain) = &config.default_filter_chain {
        let path = builder.path.field("default_filter_chain");
        let node = field(builder.node, "default_filter_chain");
        built.default = Some(build_or_reuse(context, chain, &path, node, previous)?);
    }
    Ok(built)
}

/// Two chains that say the same are more likely a slip than chains that overlap, so Envoy names both of them.
fn refuse_same_matches(
    chains: &[filter_chain::FilterChain],
    path: &ConfigPath,
    listener: &Node,
    addresses: &str,
) -> Result<(), BuildError> {
    for (at, chain) in chains.iter().enumerate() {
        let same =
            |earlier: &&filter_chain::FilterChain| earlier.filter_chain_match == chain.filter_chain_match;
        let Some(earlier) = chains[..at].iter().find(same) else { continue };
        let node = field(listener, "filter_chains")
            .and_then(|list| field(list.elements().get(at)?, "filter_chain_match"));
        let matcher = node.map_or_else(|| "{}".to_owned(), |node| node.to_json().to_string());
        let (name, other) = (&chain.name, &earlier.name);
        return Err(BuildError::at(
            path.index(at),
            format!(
                "error adding listener '{addresses}': filter chain '{name}' has the same matching rules defined as '{other}'. \
                 duplicate matcher is: {matcher}"
            ),
        ));
    }
    Ok(())
}

fn build_or_reuse(
    context: &BuildContext<'_>,
    chain: &filter_chain::FilterChain,
    path: &ConfigPath,
    node: Option<&Arc<Node>>,
    previous: Option<&FilterChains>,
) -> Result<Arc<FilterChain>, BuildError> {
    let hash = node.map(|node| node.stable_hash());
    if let Some(same) = previous.zip(hash).and_then(|(previous, hash)| previous.built_from(hash)) {
        return Ok(Arc::clone(same));
    }
    let transport_socket = chain.transport_socket.as_ref();
    let transport_socket = transport_socket
        .map(|socket| context.build(&socket.typed_config, DownstreamTransportSocketConfig::build))
        .transpose()?;
    Ok(Arc::new(FilterChain {
        name: chain.name.as_str().into(),
        hash,
        filters: network_filters(context, &chain.filters, &path.field("filters"))?,
        transport_socket,
        transport_socket_connect_timeout: chain
            .transport_socket_connect_timeout
            .filter(|timeout| !timeout.is_zero()),
        drain: DrainSignal::default(),
    }))
}

/// A chain ends in its only terminal filter. One without any filter is accepted, as in Envoy; it closes its connections.
fn network_filters(
    context: &BuildContext<'_>,
    configs: &[ExtensionConfig<dyn NetworkFilterConfig>],
    path: &ConfigPath,
) -> Result<Vec<Arc<dyn NetworkFilter>>, BuildError> {
    if configs.is_empty() {
        context.warn(BuildError::at(path.clone(), "a filter chain without filters closes every connection"));
    }
    let mut filters = Vec::with_capacity(configs.len());
    for (at, filter) in configs.iter().enumerate() {
        check_terminal(context, filter, at + 1 == configs.len())
            .map_err(|message| BuildError::at(path.index(at), message))?;
        filters.push(context.build(&filter.typed_config, NetworkFilterConfig::build)?);
    }
    Ok(filters)
}

fn check_terminal(
    context: &BuildContext<'_>,
    filter: &ExtensionConfig<dyn NetworkFilterConfig>,
    is_last: bool,
) -> Result<(), String> {
    let (name, type_name) = (&filter.name, filter.typed_config.type_name());
    let extension = context.server.extensions.find(<dyn NetworkFilterConfig>::NAME, type_name);
    let kind = extension.map_or(type_name, |extension| extension.name);
    match (filter.typed_config.is_terminal(), is_last) {
        (true, false) => Err(format!(
            "Error: terminal filter named {name} of type {kind} must be the last filter in a network filter chain."
        )),
        (false, true) => Err(format!(
            "Error: non-terminal filter named {name} of type {kind} is the last filter in a network filter chain."
        )),
        _ => Ok(()),
    }
}

fn criteria(config: &FilterChainMatch, addresses: &str) -> Result<Criteria, String> {
    let partial_wildcard = |name: &&String| name.contains('*') && !name.starts_with("*.");
    if config.server_names.iter().find(partial_wildcard).is_some() {
        return Err(format!(
            "error adding listener '{addresses}': partial wildcards are not supported in \"server_names\""
        ));
    }
    Ok(Criteria {
        destination_port: config.destination_port,
        prefix_ranges: nets(&config.prefix_ranges),
        server_names: config.server_names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        transport_protocol: config.transport_protocol.clone(),
        application_protocols: config.application_protocols.clone(),
        direct_source_prefix_ranges: nets(&config.direct_source_prefix_ranges),
        source_type: match config.source_type {
            ConnectionSourceType::Any => SourceType::Any,
            ConnectionSourceType::SameIpOrLoopback => SourceType::SameIpOrLoopback,
            ConnectionSourceType::External => SourceType::External,
        },
        source_prefix_ranges: nets(&config.source_prefix_ranges),
        source_ports: config.source_ports.clone(),
    })
}

fn nets(ranges: &[CidrRange]) -> Vec<ipnet::IpNet> {
    ranges.iter().map(|range| range.net).collect()
}

/// A field of a message as it was written, in either style.
fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Arc<Node>> {
    node.get(name).or_else(|| node.get(&known::json_name(name)))
}
