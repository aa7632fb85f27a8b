//! The PROXY protocol, as listener filters and transport sockets name it (`envoy/config/core/v3/proxy_protocol.proto`).

use serde::Deserialize;

/// `envoy.config.core.v3.ProxyProtocolPassThroughTLVs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PassThroughTlvs {
    /// All, or those in the list.
    pub match_type: PassTlvsMatchType,
    /// The list of types.
    pub tlv_type: Vec<u8>,
}

/// `ProxyProtocolPassThroughTLVs.PassTLVsMatchType`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PassTlvsMatchType {
    /// All types.
    #[default]
    IncludeAll,
    /// The types in the list.
    Include,
}
