//! `/clusters`: clusters and hosts as the admin interface shows them.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--clusters>

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
};

use serde_json::{Map, Value, json};
use underpass_core::{
    address::Address,
    cluster::{CircuitBreakers, HealthFlag, Host, Locality, Thresholds},
};

use super::shared::SharedCluster;
use crate::listener_manager::address_to_json;

/// A cluster as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// Its name in stats.
    pub observability_name: String,
    /// Whether a control plane added it.
    pub added_via_api: bool,
    /// The name under which its endpoints are asked for, if they come from a file or a control plane.
    pub eds_service_name: Option<Arc<str>>,
    /// Limits of the default and the high priority.
    pub limits: [LimitStatus; 2],
    /// Its hosts, by priority and in the order of the configuration.
    pub hosts: Vec<HostStatus>,
}

/// The limits of one routing priority, as far as they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitStatus {
    /// Connections to all hosts.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending_requests: u64,
    /// Requests in progress.
    pub requests: u64,
    /// Retries in progress.
    pub retries: u64,
}

/// A host as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostStatus {
    /// Where it is.
    pub address: Address,
    /// Counters, in the order of the text form: name and value.
    pub stats: [(&'static str, u64); 9],
    /// Its name, or nothing.
    pub hostname: String,
    /// The flags that are set.
    pub health_flags: Vec<HealthFlag>,
    /// Its weight.
    pub weight: u32,
    /// Where it stands.
    pub locality: Locality,
    /// Whether it is a canary.
    pub canary: bool,
    /// Its priority.
    pub priority: u32,
}

/// The stats that go up and down; the others only grow.
const GAUGES: [&str; 3] = ["cx_active", "rq_active", "rq_pending_active"];

impl ClusterStatus {
    pub(crate) fn new(cluster: &SharedCluster, added_via_api: bool) -> Self {
        let CircuitBreakers { default, high } = &cluster.info.circuit_breakers;
        Self {
            name: cluster.info.name.to_string(),
            observability_name: cluster.info.observability_name.to_string(),
            added_via_api,
            eds_service_name: cluster.eds_service_name.clone(),
            limits: [LimitStatus::new(default), LimitStatus::new(high)],
            hosts: cluster.membership.hosts().iter().map(|host| HostStatus::new(host)).collect(),
        }
    }

    /// Appends the lines of the text form.
    pub fn write_text(&self, out: &mut String) {
        let name = &self.name;
        let mut line = |what: &str, value: &dyn std::fmt::Display| {
            // Writing to a text cannot fail.
            let _ = writeln!(out, "{name}::{what}::{value}");
        };
        line("observability_name", &self.observability_name);
        for (limits, priority) in self.limits.iter().zip(["default_priority", "high_priority"]) {
            for (what, limit) in limits.entries() {
                line(&format!("{priority}::{what}"), &limit);
            }
        }
        line("added_via_api", &self.added_via_api);
        if let Some(name) = &self.eds_service_name {
            line("eds_service_name", name);
        }
        for host in &self.hosts {
            let mut line = |what: &str, value: &dyn std::fmt::Display| {
                line(&format!("{}::{what}", host.address), value);
            };
            for (what, value) in &host.stats {
                line(what, value);
            }
            line("hostname", &host.hostname);
            line("health_flags", &host.health_text());
            line("weight", &host.weight);
            line("region", &host.locality.region);
            line("zone", &host.locality.zone);
            line("sub_zone", &host.locality.sub_zone);
            line("canary", &host.canary);
            line("priority", &host.priority);
            // There is no outlier detection, whose success rates these would be.
            line("success_rate", &-1);
            line("local_origin_success_rate", &-1);
        }
    }

    /// The message `envoy.admin.v3.ClusterStatus` as JSON, which leaves out what is zero or empty.
    pub fn to_json(&self) -> Value {
        let mut status = Map::new();
        status.insert("name".into(), json!(self.name));
        if self.added_via_api {
            status.insert("added_via_api".into(), json!(true));
        }
        if !self.hosts.is_empty() {
            status.insert("host_statuses".into(), self.hosts.iter().map(HostStatus::to_json).collect());
        }
        let [default, mut high] = self.limits.map(LimitStatus::to_json);
        high["priority"] = json!("HIGH");
        status.insert("circuit_breakers".into(), json!({ "thresholds": [default, high] }));
        if let Some(name) = &self.eds_service_name {
            status.insert("eds_service_name".into(), json!(**name));
        }
        status.insert("observability_name".into(), json!(self.observability_name));
        Value::Object(status)
    }
}

impl LimitStatus {
    fn new(thresholds: &Thresholds) -> Self {
        let limits = &thresholds.limits;
        Self {
            connections: limits.connections,
            pending_requests: limits.pending_requests,
            requests: limits.requests,
            retries: limits.retries,
        }
    }

    fn entries(&self) -> [(&'static str, u64); 4] {
        [
            ("max_connections", self.connections),
            ("max_pending_requests", self.pending_requests),
            ("max_requests", self.requests),
            ("max_retries", self.retries),
        ]
    }

    fn to_json(self) -> Value {
        self.entries()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect::<Map<_, _>>()
            .into()
    }
}

impl HostStatus {
    fn new(host: &Host) -> Self {
        let stats = &host.stats;
        let stats = [
            ("cx_active", &stats.cx_active),
            ("cx_connect_fail", &stats.cx_connect_fail),
            ("cx_total", &stats.cx_total),
            ("rq_active", &stats.rq_active),
            ("rq_error", &stats.rq_error),
            ("rq_pending_active", &stats.rq_pending_active),
            ("rq_success", &stats.rq_success),
            ("rq_timeout", &stats.rq_timeout),
            ("rq_total", &stats.rq_total),
        ];
        Self {
            address: host.address.clone(),
            stats: stats.map(|(name, value)| (name, value.load(Ordering::Relaxed))),
            hostname: host.hostname.to_string(),
            health_flags: HealthFlag::ALL.iter().copied().filter(|flag| host.has(*flag)).collect(),
            weight: host.weight(),
            locality: Locality::clone(&host.locality),
            canary: host.is_canary(),
            priority: host.priority,
        }
    }

    fn health_text(&self) -> String {
        match self.health_flags.as_slice() {
            [] => "healthy".to_owned(),
            flags => flags.iter().flat_map(|flag| ["/", flag.name()]).collect(),
        }
    }

    fn to_json(&self) -> Value {
        let mut status = Map::new();
        status.insert("address".into(), address_to_json(&self.address));
        status.insert("stats".into(), self.stats_json());
        status.insert("health_status".into(), self.health_json());
        status.insert("weight".into(), json!(self.weight));
        if !self.hostname.is_empty() {
            status.insert("hostname".into(), json!(self.hostname));
        }
        if self.priority > 0 {
            status.insert("priority".into(), json!(self.priority));
        }
        let Locality { region, zone, sub_zone } = &self.locality;
        let parts = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
        let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
        let locality: Map<_, _> = parts.map(|(name, text)| (name.to_owned(), json!(text))).collect();
        status.insert("locality".into(), locality.into());
        Value::Object(status)
    }

    fn stats_json(&self) -> Value {
        let is_gauge = |name: &&str| GAUGES.contains(name);
        let (gauges, counters): (Vec<_>, Vec<_>) = self.stats.iter().partition(|(name, _)| is_gauge(name));
        let stat = |(name, value): &(&'static str, u64)| {
            let mut stat = Map::new();
            if is_gauge(name) {
                stat.insert("type".into(), json!("GAUGE"));
            }
            stat.insert("name".into(), json!(name));
            if *value > 0 {
                // proto3 JSON writes 64-bit numbers as text.
                stat.insert("value".into(), json!(value.to_string()));
            }
            Value::Object(stat)
        };
        counters.into_iter().chain(gauges).map(stat).collect()
    }

    fn health_json(&self) -> Value {
        let has = |flag| self.health_flags.contains(&flag);
        let status = match () {
            () if has(HealthFlag::FailedEdsHealth) => "UNHEALTHY",
            () if has(HealthFlag::EdsStatusDraining) => "DRAINING",
            () if has(HealthFlag::DegradedEdsHealth) => "DEGRADED",
            () => "HEALTHY",
        };
        let flags = [
            ("failed_active_health_check", HealthFlag::FailedActiveHealthCheck),
            ("failed_outlier_check", HealthFlag::FailedOutlierCheck),
            ("failed_active_degraded_check", HealthFlag::DegradedActiveHealthCheck),
            ("pending_dynamic_removal", HealthFlag::PendingDynamicRemoval),
            ("pending_active_hc", HealthFlag::PendingActiveHealthCheck),
            ("excluded_via_immediate_hc_fail", HealthFlag::ExcludedByImmediateFailure),
            ("active_hc_timeout", HealthFlag::ActiveHealthCheckTimeout),
        ];
        let flags = flags.into_iter().filter(|(_, flag)| has(*flag));
        let mut health: Map<_, _> = flags.map(|(name, _)| (name.to_owned(), json!(true))).collect();
        health.insert("eds_health_status".into(), json!(status));
        health.into()
    }
}
