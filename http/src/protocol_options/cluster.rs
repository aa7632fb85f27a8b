//! The HTTP options of a cluster (`envoy.extensions.upstreams.http.v3.HttpProtocolOptions`).

use std::{any::Any, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    cluster::ClusterInfo,
    config::{ConfigPath, RawTypedConfig, required_one_of},
    extension,
    protocol_options::ProtocolOptionsConfig,
};

use super::{
    CommonHttpProtocolOptions, CommonSettings, Http1ProtocolOptions, Http1Settings, Http2ProtocolOptions,
    Http2Settings,
};

const UPSTREAM_CODEC: &str = "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec";

/// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HttpProtocolOptions {
    /// Options of all versions of HTTP.
    pub common_http_protocol_options: CommonHttpProtocolOptions,
    /// Options of HTTP over TLS.
    pub upstream_http_protocol_options: Option<UpstreamHttpProtocolOptions>,
    /// One version of HTTP, always.
    pub explicit_http_config: Option<ExplicitHttpConfig>,
    /// The version that the client speaks.
    pub use_downstream_protocol_config: Option<UseDownstreamHttpConfig>,
    /// The version that a TLS handshake agrees on.
    pub auto_config: Option<AutoHttpConfig>,
    /// Filters of each attempt; only the codec, which ends every such chain.
    pub http_filters: Vec<UpstreamHttpFilter>,
}

/// `HttpProtocolOptions.ExplicitHttpConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ExplicitHttpConfig {
    /// HTTP/1.1.
    pub http_protocol_options: Option<Http1ProtocolOptions>,
    /// HTTP/2.
    pub http2_protocol_options: Option<Http2ProtocolOptions>,
}

/// `HttpProtocolOptions.UseDownstreamHttpConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UseDownstreamHttpConfig {
    /// Options of HTTP/1.1.
    pub http_protocol_options: Http1ProtocolOptions,
    /// Options of HTTP/2.
    pub http2_protocol_options: Http2ProtocolOptions,
}

/// `HttpProtocolOptions.AutoHttpConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AutoHttpConfig {
    /// Options of HTTP/1.1.
    pub http_protocol_options: Http1ProtocolOptions,
    /// Options of HTTP/2.
    pub http2_protocol_options: Http2ProtocolOptions,
}

/// `envoy.config.core.v3.UpstreamHttpProtocolOptions`, all of it about TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UpstreamHttpProtocolOptions {
    /// Whether the server name of the handshake is the request's host.
    pub auto_sni: bool,
    /// Whether the certificate has to be for the request's host.
    pub auto_san_validation: bool,
    /// The header that the server name is taken from, instead of the host.
    pub override_auto_sni_header: String,
}

/// An entry of `http_filters`.
#[derive(Debug, Clone, Deserialize)]
pub struct UpstreamHttpFilter {
    /// What the user calls it.
    #[serde(default)]
    pub name: String,
    /// What it is.
    pub typed_config: RawTypedConfig,
}

/// Options of HTTP for the connections to a cluster.
#[extension(
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    type_url = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)]
impl ProtocolOptionsConfig for HttpProtocolOptions {
    fn name(&self) -> &'static str {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    }

    fn build(
        &self,
        cluster: &str,
        context: &BuildContext<'_>,
    ) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(ClusterProtocolOptions::build(self, cluster, context)?))
    }
}

/// Which protocol is spoken to a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// The one that the client speaks.
    Downstream,
}

/// What a cluster's HTTP options come to.
#[derive(Debug, Clone, Default)]
pub struct ClusterProtocolOptions {
    /// Which protocol is spoken.
    pub protocol: UpstreamProtocol,
    /// Options of all versions of HTTP.
    pub common: CommonSettings,
    /// Options of HTTP/1.1.
    pub http1: Http1Settings,
    /// Options of HTTP/2.
    pub http2: Http2Settings,
}

impl ClusterProtocolOptions {
    /// The options of a cluster. Keep them: one that has none gets new defaults each time.
    pub fn of(cluster: &ClusterInfo) -> Arc<Self> {
        cluster.protocol_options.get().unwrap_or_default()
    }

    fn build(
        options: &HttpProtocolOptions,
        cluster: &str,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let specifier = required_one_of(
            "upstream_protocol_options",
            &[
                ("explicit_http_config", options.explicit_http_config.is_some()),
                ("use_downstream_protocol_config", options.use_downstream_protocol_config.is_some()),
                ("auto_config", options.auto_config.is_some()),
            ],
        )
        .map_err(BuildError::new)?;
        check_filters(&options.http_filters, &context.path().field("http_filters"))?;
        if options
            .upstream_http_protocol_options
            .as_ref()
            .is_some_and(|it| *it != UpstreamHttpProtocolOptions::default())
        {
            let message =
                "is about TLS, which the connections of this cluster do not speak: it has no effect";
            context.warn(context.error_at("upstream_http_protocol_options", message));
        }
        let at = context.path().field(specifier);
        let mut built =
            Self { common: CommonSettings::new(&options.common_http_protocol_options), ..Self::default() };
        if let Some(explicit) = &options.explicit_http_config {
            built.explicit(explicit, &at, context)?;
        } else if let Some(versions) = &options.use_downstream_protocol_config {
            built.protocol = UpstreamProtocol::Downstream;
            built.http1 = Http1Settings::build(
                &versions.http_protocol_options,
                false,
                &at.field("http_protocol_options"),
            )?;
            let at = at.field("http2_protocol_options");
            built.http2 = Http2Settings::build(&versions.http2_protocol_options, false, &at, context)?;
        } else {
            let message = format!(
                "ALPN configured for cluster {cluster} which has a non-ALPN transport socket; write explicit_http_config"
            );
            return Err(BuildError::at(at, message));
        }
        Ok(built)
    }

    fn explicit(
        &mut self,
        config: &ExplicitHttpConfig,
        at: &ConfigPath,
        context: &BuildContext<'_>,
    ) -> Result<(), BuildError> {
        let set = [
            ("http_protocol_options", config.http_protocol_options.is_some()),
            ("http2_protocol_options", config.http2_protocol_options.is_some()),
        ];
        let field = required_one_of("protocol_config", &set)
            .map_err(|message| BuildError::at(at.clone(), message))?;
        let at = at.field(field);
        if let Some(options) = &config.http_protocol_options {
            self.http1 = Http1Settings::build(options, false, &at)?;
        }
        if let Some(options) = &config.http2_protocol_options {
            self.protocol = UpstreamProtocol::Http2;
            self.http2 = Http2Settings::build(options, false, &at, context)?;
        }
        Ok(())
    }
}

/// Envoy's own chain has the codec alone.
fn check_filters(filters: &[UpstreamHttpFilter], at: &ConfigPath) -> Result<(), BuildError> {
    let Some((last, others)) = filters.split_last() else { return Ok(()) };
    if last.typed_config.type_name() != UPSTREAM_CODEC {
        let message = format!(
            "The codec filter is the only valid terminal upstream HTTP filter, use '{UPSTREAM_CODEC}'"
        );
        return Err(BuildError::at(at.index(others.len()), message));
    }
    if let Some(other) = others.first() {
        let name = other.typed_config.type_name();
        let message = format!("upstream HTTP filters other than the codec are not implemented yet: {name}");
        return Err(BuildError::at(at.index(0), message));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
