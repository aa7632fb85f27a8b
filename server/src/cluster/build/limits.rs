//! The circuit breakers of a cluster, from its configuration and the runtime.

use underpass_core::{
    build_context::{BuildContext, BuildError},
    cluster::{CircuitBreakers, Limits, RetryBudget},
    config::ConfigPath,
    runtime::RuntimeSnapshot,
};

use super::Inheritance;
use crate::config::{
    circuit_breakers::{self, RoutingPriority},
    cluster::Cluster,
};

/// Connections of the version before go on counting where limits stay as they are.
pub(super) fn circuit_breakers(
    config: &Cluster,
    context: &BuildContext<'_>,
    inheritance: &Inheritance<'_>,
) -> CircuitBreakers {
    let runtime = context.server.runtime.snapshot();
    let default = limits(config, RoutingPriority::Default, &runtime);
    let high = limits(config, RoutingPriority::High, &runtime);
    if let Some(previous) = inheritance.previous {
        let present = &previous.info.circuit_breakers;
        let same_stats = previous.info.observability_name.as_ref() == config.observability_name();
        if same_stats && present.default.limits == default && present.high.limits == high {
            return present.clone();
        }
    }
    CircuitBreakers::new(context.scope, default, high)
}

/// The runtime overrides limits, as it is when the cluster is built
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_runtime>).
fn limits(config: &Cluster, priority: RoutingPriority, runtime: &RuntimeSnapshot) -> Limits {
    let thresholds = config.circuit_breakers.of(priority);
    // Per-host limits exist for the default priority only.
    let (word, per_host) = match priority {
        RoutingPriority::Default => ("default", config.circuit_breakers.max_connections_per_host()),
        RoutingPriority::High => ("high", u32::MAX),
    };
    let limit = |key: &str, configured: u64| {
        runtime.integer(&format!("circuit_breakers.{}.{word}.{key}", config.name), configured)
    };
    let unlimited = |limit: Option<u32>| limit.map_or(u64::MAX, u64::from);
    Limits {
        connections: limit("max_connections", thresholds.max_connections_or_default().into()),
        pending_requests: limit("max_pending_requests", thresholds.max_pending_requests_or_default().into()),
        requests: limit("max_requests", thresholds.max_requests_or_default().into()),
        retries: limit("max_retries", thresholds.max_retries_or_default().into()),
        retry_budget: thresholds.retry_budget.as_ref().map(|budget| RetryBudget {
            percent: budget.budget_percent.map_or(20.0, |percent| percent.value),
            min_concurrency: budget.min_retry_concurrency.unwrap_or(3).into(),
        }),
        connection_pools: limit("max_connection_pools", unlimited(thresholds.max_connection_pools)),
        connections_per_host: unlimited(Some(per_host).filter(|limit| *limit != u32::MAX)),
        track_remaining: thresholds.track_remaining,
    }
}

/// Envoy's rule for `per_host_thresholds`: they limit connections and nothing else.
pub(super) fn check_per_host(
    config: &circuit_breakers::CircuitBreakers,
    path: &ConfigPath,
) -> Result<(), BuildError> {
    let path = path.field("circuit_breakers").field("per_host_thresholds");
    for (index, thresholds) in config.per_host_thresholds.iter().enumerate() {
        let limits_more = thresholds.max_pending_requests.is_some()
            || thresholds.max_requests.is_some()
            || thresholds.max_retries.is_some()
            || thresholds.max_connection_pools.is_some()
            || thresholds.track_remaining;
        if limits_more {
            let message =
                "Unsupported field in per_host_thresholds: only priority and max_connections have a meaning";
            return Err(BuildError::at(path.index(index), message));
        }
    }
    Ok(())
}
