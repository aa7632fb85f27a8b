//! `envoy.filters.network.tcp_proxy`: connects a client to a host of a cluster and passes bytes both ways.
//!
//! A connection goes through these steps, each in a module of its own:
//!
//! 1. `route` picks the cluster: the configured one, one of several by weight, or the one that a filter left in the
//!    filter state.
//! 2. `connect` opens a connection to a host of that cluster and tries again where it may. Meanwhile `client` watches the
//!    client, and reads ahead where early data is wanted.
//! 3. `session` runs the relay of `underpass-core` between the two, while `traffic` counts.
//! 4. `ending` says what the end means: for flags, for counters, and for whichever side is still there.
//!
//! Access logs are written by `log`, from a guard, so that a connection which is dropped (drain, shutdown, a panic) is logged
//! as well. `overrides` holds what other filters may set for a single connection.
//!
//! How Envoy 1.40 was seen to end connections, and this crate does too:
//!
//! | what happens | flags | the client sees |
//! |---|---|---|
//! | both sides finish, whoever is first | `-` | the end of the stream |
//! | the client resets | `-` | (the host sees a reset) |
//! | the host resets | `UR` | a reset |
//! | connecting fails, attempts are used up | `UF,URX` | the end of the stream |
//! | no host, too many connections, no such cluster | `UH`, `UO`, `NC` | the end of the stream |
//! | the idle timeout, the maximum duration | `-`, `DT` | the end of the stream |
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/tcp_proxy_filter>

mod backoff;
mod client;
mod config;
mod connect;
mod ending;
mod filter;
mod hash_policy;
mod log;
mod overrides;
mod route;
mod session;
mod settings;
mod stats;
mod traffic;
#[cfg_attr(not(feature = "tunneling"), path = "without_tunneling.rs")]
mod tunneling;
#[cfg_attr(not(feature = "tunneling"), expect(dead_code, reason = "some of it is for tunnels only"))]
mod upstream;

#[cfg(test)]
mod tests;

pub use self::{
    config::{
        AccessLogOptions, BackoffStrategy, ClusterWeight, FilterStateHash, HashPolicy, OnDemand,
        SourceIpHash, TcpProxy, UpstreamConnectMode, WeightedClusters,
    },
    overrides::{IdleTimeoutOverride, PerConnectionCluster},
    tunneling::TunnelingConfig,
};
