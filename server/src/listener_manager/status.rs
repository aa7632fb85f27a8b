//! What `/listeners` shows.

use std::sync::Arc;

use serde_json::{Value, json};
use underpass_core::address::Address;

use super::{ListenerManager, snapshot::Placement};

/// A listener and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: String,
    /// At least one address, with the port that the kernel chose; the first one is its main address.
    pub addresses: Vec<Address>,
}

impl ListenerStatus {
    /// As in `/listeners?format=json`.
    pub fn to_json(&self) -> Value {
        let mut status = json!({ "name": self.name });
        let mut addresses = self.addresses.iter().map(address_to_json);
        if let Some(first) = addresses.next() {
            status["local_address"] = first;
        }
        let additional: Vec<_> = addresses.collect();
        if !additional.is_empty() {
            status["additional_local_addresses"] = additional.into();
        }
        status
    }
}

/// `envoy.config.core.v3.Address` in JSON.
pub(crate) fn address_to_json(address: &Address) -> Value {
    match address {
        Address::Socket(socket) => {
            json!({ "socket_address": { "address": socket.ip().to_string(), "port_value": socket.port() } })
        }
        Address::Pipe(path) => json!({ "pipe": { "path": path.display().to_string() } }),
        Address::Internal(internal) => {
            let mut fields = json!({ "server_listener_name": &*internal.listener });
            if !internal.endpoint_id.is_empty() {
                fields["endpoint_id"] = json!(&*internal.endpoint_id);
            }
            json!({ "envoy_internal_address": fields })
        }
    }
}

impl ListenerManager {
    /// The listeners in the order in which they were added; those that drain are not among them.
    pub fn statuses(&self) -> Vec<ListenerStatus> {
        let state = self.lock();
        let status = |placement: &Arc<Placement>| ListenerStatus {
            name: placement.listener.base.name.to_string(),
            addresses: placement.addresses.clone(),
        };
        state.active.values().map(status).collect()
    }
}
