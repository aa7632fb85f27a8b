//! The configuration (`envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto`).

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{ByteString, ExtensionConfig, PassThroughTlvs, PassTlvsMatchType},
    extension,
    proxy_protocol::Tlv,
    transport_socket::{UpstreamTransportSocket, UpstreamTransportSocketConfig},
};

use crate::transport::{PassedThrough, UpstreamProxyProtocol};

/// `envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport`.
#[derive(Debug, Deserialize)]
pub struct ProxyProtocolUpstreamTransport {
    /// What the header is like.
    #[serde(default)]
    pub config: ProxyProtocolConfig,
    /// The transport socket that treats what follows the header.
    pub transport_socket: ExtensionConfig<dyn UpstreamTransportSocketConfig>,
    /// In version 2, says of a stream without IP addresses that they are unspecified, rather than that it is this proxy's
    /// own.
    #[serde(default)]
    pub allow_unspecified_address: bool,
    /// Keeps pooled connections apart whose headers differ in TLVs only.
    #[serde(default)]
    pub tlv_as_pool_key: bool,
}

/// `envoy.config.core.v3.ProxyProtocolConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProxyProtocolConfig {
    /// The version of the header.
    pub version: Version,
    /// Which TLVs of the client's header go on (version 2 only).
    pub pass_through_tlvs: Option<PassThroughTlvs>,
    /// Further TLVs (version 2 only). One of the client's header is left out if its type is among these.
    pub added_tlvs: Vec<TlvEntry>,
}

/// `envoy.config.core.v3.ProxyProtocolConfig.Version`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// A line of text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// `envoy.config.core.v3.TlvEntry`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TlvEntry {
    /// The type.
    pub r#type: u8,
    /// The value.
    pub value: ByteString,
}

/// Tells the upstream who the client is, in a PROXY protocol header.
#[extension(
    name = "envoy.transport_sockets.upstream_proxy_protocol",
    type_url = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
)]
impl UpstreamTransportSocketConfig for ProxyProtocolUpstreamTransport {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError> {
        let inner =
            context.build(&self.transport_socket.typed_config, UpstreamTransportSocketConfig::build)?;
        Ok(Arc::new(UpstreamProxyProtocol {
            inner,
            version: self.config.version,
            passed_through: self.config.passed_through(),
            added: self.config.added(context)?,
            allow_unspecified: self.allow_unspecified_address,
            tlvs_split_pools: self.tlv_as_pool_key,
            tlvs_exceed_max_length: context.scope.counter("upstream.proxyprotocol.v2_tlvs_exceed_max_length"),
        }))
    }
}

impl ProxyProtocolConfig {
    fn passed_through(&self) -> PassedThrough {
        match &self.pass_through_tlvs {
            None => PassedThrough::Only(HashSet::new()),
            Some(PassThroughTlvs { match_type: PassTlvsMatchType::IncludeAll, .. }) => PassedThrough::All,
            Some(PassThroughTlvs { tlv_type, .. }) => PassedThrough::Only(tlv_type.iter().copied().collect()),
        }
    }

    fn added(&self, context: &BuildContext<'_>) -> Result<Vec<Tlv>, BuildError> {
        let added = self.added_tlvs.iter().enumerate().map(|(index, entry)| {
            if entry.value.is_empty() {
                let path = context.path().field("config").field("added_tlvs").index(index).field("value");
                return Err(BuildError::at(path, "Invalid TLV configuration: 'value' must be set."));
            }
            Ok(Tlv { kind: entry.r#type, value: Bytes::copy_from_slice(&entry.value) })
        });
        added.collect()
    }
}
