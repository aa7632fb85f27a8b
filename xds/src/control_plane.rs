//! A control plane, as an `ApiConfigSource` describes it.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderName, HeaderValue, uri::PathAndQuery};
use underpass_core::{
    build_context::BuildError,
    config::{self, ApiVersion, PositiveDuration, RawMessage, Reader},
    config_subscription::StaticClusters,
    server::ServerContext,
};

use crate::{
    backoff::Backoff,
    config::{ApiConfigSource, ApiType, EnvoyGrpc, GrpcService, RateLimitSettings},
    grpc::Target,
    resource_type::Protocol,
};

const MESSAGE: &str = "envoy.config.core.v3.ApiConfigSource";
/// Envoy's limits where `rate_limit_settings` leaves them open.
const MAX_TOKENS: u32 = 100;
const FILL_RATE: f64 = 10.0;

/// A control plane that can be asked.
#[derive(Debug, Clone)]
pub(crate) struct ControlPlane {
    api_type: ApiType,
    pub(crate) node_on_first_message_only: bool,
    grpc: EnvoyGrpc,
    authority: HeaderValue,
    metadata: Vec<(HeaderName, HeaderValue)>,
    rate_limit: Option<RateLimitSettings>,
}

/// What a control plane is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything, on one stream: `ads_config`.
    Everything,
    /// One subscription.
    OneSubscription,
}

/// Reads and checks an `ApiConfigSource`, by the rules of Envoy (`source/common/config/utility.cc`).
///
/// # Errors
/// The first thing that is wrong with it, and in its message all others.
pub(crate) fn read(
    message: &RawMessage,
    purpose: Purpose,
    server: &Arc<ServerContext>,
) -> Result<ControlPlane, BuildError> {
    let place = &message.path;
    let reader = Reader::new(&server.extensions);
    let source = reader.read::<ApiConfigSource>(&message.node, message.path.clone(), MESSAGE);
    let report = reader.into_report();
    let Some(source) = source else {
        let mut errors = report.errors();
        let Some(first) = errors.next() else {
            return Err(BuildError::at(message.path.clone(), "cannot be read"));
        };
        let others = errors.map(|error| format!("; {}: {}", error.path, error.message));
        return Err(BuildError::at(first.path.clone(), first.message.clone() + &others.collect::<String>()));
    };
    let at = |field: &str, why: &str| Err(BuildError::at(message.path.field(field), why));
    match source.api_type {
        ApiType::DeprecatedAndUnavailableDoNotUse => return at("api_type", "is missing"),
        ApiType::Rest => return at("api_type", "REST is not implemented yet; use GRPC"),
        ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc => {
            let instead = match purpose {
                Purpose::Everything => "say GRPC or DELTA_GRPC",
                Purpose::OneSubscription => "say `ads: {}` instead of `api_config_source`",
            };
            return at("api_type", &format!("is for collections, which are not implemented; {instead}"));
        }
        ApiType::Grpc | ApiType::DeltaGrpc => {}
    }
    if source.transport_api_version == ApiVersion::V2 {
        return at("transport_api_version", "version 2 has been removed: say `transport_api_version: V3`");
    }
    if !source.cluster_names.is_empty() {
        return at("cluster_names", "is for REST; with gRPC, `grpc_services` names the cluster");
    }
    let services = message.path.field("grpc_services");
    let [service, ..] = source.grpc_services.as_slice() else {
        return at("grpc_services", "names no control plane");
    };
    if source.grpc_services.len() > 1 {
        return at("grpc_services", "only one control plane can be named");
    }
    let Some(grpc) = service.envoy_grpc.clone() else {
        return Err(BuildError::at(
            services.index(0),
            "`envoy_grpc` is missing: it names the cluster of the control plane",
        ));
    };
    let path = services.index(0);
    let authority = if grpc.authority.is_empty() { grpc.cluster_name.as_str() } else { &grpc.authority };
    let authority = HeaderValue::from_str(authority).map_err(|_| {
        BuildError::at(path.field("envoy_grpc").field("authority"), "a header cannot have this value")
    })?;
    let metadata = metadata(service, &path)?;
    check_cluster(&grpc.cluster_name, purpose, server)
        .map_err(|why| BuildError::at(path.field("envoy_grpc").field("cluster_name"), why))?;
    if server.node.id.is_empty() || server.node.cluster.is_empty() {
        let message = "who asks a control plane must say who it is: set `id` and `cluster` in `node`, or with \
                       --service-node and --service-cluster";
        return Err(BuildError::at(place.clone(), message));
    }
    Ok(ControlPlane {
        api_type: source.api_type,
        node_on_first_message_only: source.set_node_on_first_message_only,
        grpc,
        authority,
        metadata,
        rate_limit: source.rate_limit_settings,
    })
}

/// A control plane must be reachable before there is any other configuration, and stay so whatever becomes of it.
fn check_cluster(name: &str, purpose: Purpose, server: &Arc<ServerContext>) -> Result<(), String> {
    let Some(clusters) = server.singletons.get::<StaticClusters>() else { return Ok(()) };
    if !clusters.has(name) {
        let names = clusters.names().collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "there are none".to_owned() } else { format!("they are: {names}") };
        return Err(format!(
            "there is no cluster '{name}' in the bootstrap. Control planes are asked over clusters that stand there; {names}"
        ));
    }
    // ADS may use endpoints from a file. Envoy makes the same difference.
    if purpose == Purpose::OneSubscription && clusters.is_discovered(name) {
        return Err(format!(
            "the endpoints of cluster '{name}' come from a source themselves (type EDS): a control plane cannot be asked over it"
        ));
    }
    Ok(())
}

fn metadata(
    service: &GrpcService,
    path: &config::ConfigPath,
) -> Result<Vec<(HeaderName, HeaderValue)>, BuildError> {
    let path = path.field("initial_metadata");
    let pairs = service.initial_metadata.iter().enumerate().map(|(index, header)| {
        let wrong = |field, why| BuildError::at(path.index(index).field(field), why);
        let name = HeaderName::from_bytes(header.key.as_bytes())
            .map_err(|_| wrong("key", "is no name of a header"))?;
        let raw: &[u8] = &header.raw_value;
        let value = match (raw.is_empty(), name.as_str().ends_with("-bin")) {
            (true, _) => HeaderValue::from_str(&header.value),
            // gRPC carries bytes as base64.
            (false, true) => HeaderValue::from_str(&STANDARD_NO_PAD.encode(raw)),
            (false, false) => HeaderValue::from_bytes(raw),
        };
        Ok((name, value.map_err(|_| wrong("value", "a header cannot have this value"))?))
    });
    pairs.collect()
}

impl ControlPlane {
    pub(crate) fn protocol(&self) -> Protocol {
        match self.api_type {
            ApiType::DeltaGrpc => Protocol::Delta,
            _ => Protocol::StateOfTheWorld,
        }
    }

    pub(crate) fn target(&self, method: &str) -> Target {
        Target {
            cluster: self.grpc.cluster_name.to_string(),
            authority: self.authority.clone(),
            // Methods are of this crate and have no odd characters.
            method: PathAndQuery::try_from(method).unwrap_or_else(|_| PathAndQuery::from_static("/")),
            metadata: self.metadata.clone(),
            max_message: self
                .grpc
                .max_receive_message_length
                .filter(|max| *max > 0)
                .and_then(|max| usize::try_from(max).ok()),
        }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        let strategy = self.grpc.retry_policy.as_ref().and_then(|policy| policy.retry_back_off.as_ref());
        strategy.map_or_else(Backoff::default, |strategy| {
            let base: Duration = strategy.base_interval.get();
            Backoff::new(base, strategy.max_interval.map_or(base * 10, PositiveDuration::get))
        })
    }

    /// How many requests may be sent at once, and how many more in a second.
    pub(crate) fn rate_limit(&self) -> Option<(u32, f64)> {
        let limit = self.rate_limit.as_ref()?;
        Some((limit.max_tokens.unwrap_or(MAX_TOKENS), limit.fill_rate.unwrap_or(FILL_RATE)))
    }
}
