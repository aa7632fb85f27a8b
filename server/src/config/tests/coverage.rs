//! The structs have no field that Envoy lacks, and what may be ignored exists.

use serde::de::DeserializeOwned;
use underpass_core::{
    config::known,
    extension::{Fields, fields_of},
};

use crate::config::{
    HARMLESS, bootstrap, circuit_breakers, cluster, dns, endpoint, filter_chain, listener, load_balancing,
    node, overload, runtime, socket, stats,
};

/// The fields of `T` that `envoy.<message>` does not have.
fn surplus<T: DeserializeOwned>(message: &str) -> Vec<String> {
    let message =
        known::message(&format!("envoy.{message}")).unwrap_or_else(|| panic!("no message {message}"));
    let Fields::Named(fields) = fields_of::<T>() else { panic!("{message:?} is no struct here") };
    let lacking =
        fields.iter().filter(|field| message.field(field).is_none_or(|known| known.name != **field));
    lacking.map(|field| format!("{}.{field}", message.name())).collect()
}

#[test]
fn every_field_is_one_of_envoys() {
    let surplus = [
        surplus::<bootstrap::Admin>("config.bootstrap.v3.Admin"),
        surplus::<bootstrap::Bootstrap>("config.bootstrap.v3.Bootstrap"),
        surplus::<bootstrap::ClusterManager>("config.bootstrap.v3.ClusterManager"),
        surplus::<bootstrap::StaticResources>("config.bootstrap.v3.Bootstrap.StaticResources"),
        surplus::<circuit_breakers::CircuitBreakers>("config.cluster.v3.CircuitBreakers"),
        surplus::<circuit_breakers::Thresholds>("config.cluster.v3.CircuitBreakers.Thresholds"),
        surplus::<cluster::Cluster>("config.cluster.v3.Cluster"),
        surplus::<cluster::UpstreamConnectionOptions>("config.cluster.v3.UpstreamConnectionOptions"),
        surplus::<dns::DnsResolutionConfig>("config.core.v3.DnsResolutionConfig"),
        surplus::<dns::DnsResolverOptions>("config.core.v3.DnsResolverOptions"),
        surplus::<dns::RefreshRate>("config.cluster.v3.Cluster.RefreshRate"),
        surplus::<endpoint::AdditionalAddress>("config.endpoint.v3.Endpoint.AdditionalAddress"),
        surplus::<endpoint::ClusterLoadAssignment>("config.endpoint.v3.ClusterLoadAssignment"),
        surplus::<endpoint::Endpoint>("config.endpoint.v3.Endpoint"),
        surplus::<endpoint::LbEndpoint>("config.endpoint.v3.LbEndpoint"),
        surplus::<endpoint::LocalityLbEndpoints>("config.endpoint.v3.LocalityLbEndpoints"),
        surplus::<endpoint::Policy>("config.endpoint.v3.ClusterLoadAssignment.Policy"),
        surplus::<filter_chain::FilterChain>("config.listener.v3.FilterChain"),
        surplus::<filter_chain::FilterChainMatch>("config.listener.v3.FilterChainMatch"),
        surplus::<listener::AdditionalAddress>("config.listener.v3.AdditionalAddress"),
        surplus::<listener::DeprecatedV1>("config.listener.v3.Listener.DeprecatedV1"),
        surplus::<listener::Listener>("config.listener.v3.Listener"),
        surplus::<listener::SocketOptionsOverride>("config.core.v3.SocketOptionsOverride"),
        surplus::<load_balancing::CommonLbConfig>("config.cluster.v3.Cluster.CommonLbConfig"),
        surplus::<load_balancing::ConsistentHashingLbConfig>(
            "config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig",
        ),
        surplus::<load_balancing::LbSubsetConfig>("config.cluster.v3.Cluster.LbSubsetConfig"),
        surplus::<load_balancing::LbSubsetSelector>(
            "config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector",
        ),
        surplus::<load_balancing::LeastRequestLbConfig>("config.cluster.v3.Cluster.LeastRequestLbConfig"),
        surplus::<load_balancing::MaglevLbConfig>("config.cluster.v3.Cluster.MaglevLbConfig"),
        surplus::<load_balancing::OriginalDstLbConfig>("config.cluster.v3.Cluster.OriginalDstLbConfig"),
        surplus::<load_balancing::RingHashLbConfig>("config.cluster.v3.Cluster.RingHashLbConfig"),
        surplus::<load_balancing::ZoneAwareLbConfig>(
            "config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
        ),
        surplus::<node::Locality>("config.core.v3.Locality"),
        surplus::<node::Node>("config.core.v3.Node"),
        surplus::<overload::OverloadManager>("config.overload.v3.OverloadManager"),
        surplus::<overload::ResourceMonitor>("config.overload.v3.ResourceMonitor"),
        surplus::<runtime::LayeredRuntime>("config.bootstrap.v3.LayeredRuntime"),
        surplus::<runtime::RuntimeLayer>("config.bootstrap.v3.RuntimeLayer"),
        surplus::<socket::BindConfig>("config.core.v3.BindConfig"),
        surplus::<socket::ExtraSourceAddress>("config.core.v3.ExtraSourceAddress"),
        surplus::<stats::HistogramBucketSettings>("config.metrics.v3.HistogramBucketSettings"),
        surplus::<stats::StatsConfig>("config.metrics.v3.StatsConfig"),
        surplus::<stats::TagSpecifier>("config.metrics.v3.TagSpecifier"),
        surplus::<stats::ListStringMatcher>("type.matcher.v3.ListStringMatcher"),
    ]
    .concat();
    assert_eq!(surplus, [""; 0]);
}

#[test]
fn what_may_be_ignored_is_a_field_of_envoys() {
    for (message, field) in HARMLESS {
        let known = known::message(message).and_then(|message| message.field(field));
        assert_eq!(known.map(|known| known.name), Some(*field), "{message}.{field}");
    }
}
