//! The hosts of a cluster as `envoy.config.endpoint.v3.ClusterLoadAssignment`, as `/config_dump?include_eds` shows them.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use underpass_core::cluster::{Health, Host, Locality};

use super::{Membership, Place};
use crate::listener_manager::address_to_json;

impl Membership {
    /// The assignment that the hosts of this cluster amount to. Fields that are zero are left out as Envoy leaves them out.
    pub(crate) fn to_json(&self, cluster_name: &str) -> Value {
        let state = self.lock();
        let places = state.priorities.iter().enumerate();
        let places =
            places.flat_map(|(priority, places)| places.iter().map(move |place| place_json(place, priority)));
        let places: Vec<_> = places.collect();
        let mut assignment = Map::from_iter([("cluster_name".to_owned(), json!(cluster_name))]);
        if !places.is_empty() {
            assignment.insert("endpoints".to_owned(), places.into());
        }
        let factor = state.assignment.overprovisioning_factor;
        assignment.insert("policy".to_owned(), json!({ "overprovisioning_factor": factor }));
        let url = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
        assignment.insert("@type".to_owned(), json!(url));
        Value::Object(assignment)
    }
}

fn place_json(place: &Place, priority: usize) -> Value {
    let hosts: Vec<_> = place.hosts.iter().map(|host| host_json(host)).collect();
    let mut json =
        json!({ "locality": locality_json(&place.locality), "load_balancing_weight": place.weight });
    if !hosts.is_empty() {
        json["lb_endpoints"] = hosts.into();
    }
    if priority > 0 {
        json["priority"] = json!(priority);
    }
    json
}

fn locality_json(locality: &Locality) -> Value {
    let Locality { region, zone, sub_zone } = locality;
    let fields = [("region", region), ("zone", zone), ("sub_zone", sub_zone)];
    fields
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), json!(text)))
        .collect::<Map<_, _>>()
        .into()
}

fn host_json(host: &Host) -> Value {
    let mut endpoint = json!({ "address": address_to_json(&host.address), "health_check_config": {} });
    if !host.hostname.is_empty() {
        endpoint["hostname"] = json!(*host.hostname);
    }
    let health = match host.health() {
        Health::Healthy => "HEALTHY",
        Health::Degraded => "DEGRADED",
        Health::Unhealthy => "UNHEALTHY",
    };
    json!({
        "endpoint": endpoint,
        "health_status": health,
        "load_balancing_weight": host.weight.load(Ordering::Relaxed),
    })
}
