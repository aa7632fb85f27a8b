//! The configuration (`envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto`).

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{NonEmptyString, PassThroughTlvs},
    extension,
    listener_filter::{ListenerFilter, ListenerFilterConfig},
};

use crate::{filter::ProxyProtocolFilter, header::Accepted, stats::Stats, tlvs::TlvRules};

/// `envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProxyProtocol {
    /// Which TLVs are noted, and where.
    pub rules: Vec<Rule>,
    /// Lets connections pass that begin with something else. For clients that are trusted.
    pub allow_requests_without_proxy_protocol: bool,
    /// Which TLVs are kept for headers upstream.
    pub pass_through_tlvs: Option<PassThroughTlvs>,
    /// Versions whose headers are turned away.
    pub disallowed_versions: Vec<Version>,
    /// Comes into the names of the stats.
    pub stat_prefix: String,
    /// Where TLVs are noted.
    pub tlv_location: TlvLocation,
}

/// `ProxyProtocol.Rule`.
#[derive(Debug, Clone, Deserialize)]
pub struct Rule {
    /// The type of the TLV.
    #[serde(default)]
    pub tlv_type: u8,
    /// Where its value is noted.
    #[serde(default)]
    pub on_tlv_present: Option<KeyValuePair>,
}

/// `ProxyProtocol.KeyValuePair`.
#[derive(Debug, Clone, Deserialize)]
pub struct KeyValuePair {
    /// The namespace of the dynamic metadata; `envoy.filters.listener.proxy_protocol` where it is empty.
    #[serde(default)]
    pub metadata_namespace: String,
    /// The key.
    pub key: NonEmptyString,
    /// How bytes become a text.
    #[serde(default)]
    pub value_string_encoding: ValueStringEncoding,
}

/// `ProxyProtocol.KeyValuePair.ValueStringEncoding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValueStringEncoding {
    /// As `SanitizedUtf8`.
    #[default]
    Unspecified,
    /// As UTF-8; a byte that does not belong there becomes `!`.
    #[serde(rename = "SANITIZED_UTF8")]
    SanitizedUtf8,
    /// In base64.
    #[serde(rename = "BASE64")]
    Base64,
}

/// `ProxyProtocol.TlvLocation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlvLocation {
    /// In dynamic metadata.
    #[default]
    DynamicMetadata,
    /// In one filter-state object, `envoy.network.proxy_protocol.tlv`.
    FilterState,
}

/// `envoy.config.core.v3.ProxyProtocolConfig.Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Takes addresses from the PROXY protocol header that a load balancer sends first.
#[extension(
    name = "envoy.filters.listener.proxy_protocol",
    type_url = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
)]
impl ListenerFilterConfig for ProxyProtocol {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        let allowed = |version| !self.disallowed_versions.contains(&version);
        let accepted = Accepted {
            v1: allowed(Version::V1),
            v2: allowed(Version::V2),
            without: self.allow_requests_without_proxy_protocol,
        };
        if !accepted.v1 && !accepted.v2 {
            const MESSAGE: &str =
                "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.";
            return Err(context.error_at("disallowed_versions", MESSAGE));
        }
        Ok(Arc::new(ProxyProtocolFilter {
            accepted,
            rules: TlvRules::new(self),
            stats: Stats::new(&context.server.stats, &self.stat_prefix),
        }))
    }
}
