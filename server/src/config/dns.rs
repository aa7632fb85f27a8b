//! How names of hosts are resolved.

use std::time::Duration;

use serde::Deserialize;
use underpass_core::config::Address;

/// `envoy.config.cluster.v3.Cluster.DnsLookupFamily`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DnsLookupFamily {
    /// IPv6 addresses; IPv4 ones if there are none.
    #[default]
    Auto,
    /// IPv4 addresses.
    V4Only,
    /// IPv6 addresses.
    V6Only,
    /// IPv4 addresses; IPv6 ones if there are none.
    V4Preferred,
    /// All addresses.
    All,
}

/// `envoy.config.cluster.v3.Cluster.RefreshRate`: intervals that grow while resolving fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RefreshRate {
    /// The first interval.
    pub base_interval: Duration,
    /// The longest interval; absent, ten times the first.
    pub max_interval: Option<Duration>,
}

impl RefreshRate {
    /// `max_interval`, ten times `base_interval` by default.
    pub fn max_interval_or_default(&self) -> Duration {
        self.max_interval.unwrap_or(self.base_interval.saturating_mul(10))
    }
}

/// `envoy.config.core.v3.DnsResolutionConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DnsResolutionConfig {
    /// The name servers.
    pub resolvers: Vec<Address>,
    /// How to ask them.
    pub dns_resolver_options: DnsResolverOptions,
}

/// `envoy.config.core.v3.DnsResolverOptions`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsResolverOptions {
    /// Whether name servers are asked by TCP.
    pub use_tcp_for_dns_lookups: bool,
    /// Whether the search domains of the system are left out.
    pub no_default_search_domain: bool,
}
