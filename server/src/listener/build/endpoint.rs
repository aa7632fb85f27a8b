//! How a listener is to be reached, and which of its fields do not go with that.

use std::sync::Arc;

use underpass_core::{
    build_context::BuildError,
    config::{Address, ConfigPath, SocketOption},
    internal_listener::InternalListenerSupport,
};

use super::{
    super::{
        Endpoint, KernelEndpoint,
        address::resolve,
        connection_balancer::ExactBalancer,
        socket::{ListenAddress, SocketSettings},
    },
    Builder,
};
use crate::{config::listener::Listener, socket_option};

impl Builder<'_> {
    pub(super) fn endpoint(&self) -> Result<Endpoint, BuildError> {
        let (config, name) = (self.config, self.name);
        match (&config.internal_listener, &config.address) {
            (Some(_), Some(_)) => Err(self.error(
                "address",
                format!("error adding listener '{name}': address should not be used when an internal listener config is provided"),
            )),
            (Some(_), None) => self.internal_endpoint(&config.name),
            // The old form, which the documentation of internal listeners still shows; Envoy has stopped reading it.
            (None, Some(Address::EnvoyInternalAddress(old))) => match &*old.server_listener_name {
                "" => self.internal_endpoint(&config.name),
                listener => self.internal_endpoint(listener),
            },
            (None, Some(address)) => self.kernel_endpoint(address).map(Endpoint::Kernel),
            (None, None) => {
                Err(BuildError::at(self.path.clone(), format!("error adding listener named '{name}': address is necessary")))
            }
        }
    }

    fn internal_endpoint(&self, reached_as: &str) -> Result<Endpoint, BuildError> {
        let (config, name) = (self.config, self.name);
        let refuse = |field: &str, what: &str| {
            Err(self.error(field, format!("error adding listener named '{name}': {what}")))
        };
        if !config.additional_addresses.is_empty() {
            let what = "address should not be used when an internal listener config is provided";
            return Err(self.error("additional_addresses", format!("error adding listener '{name}': {what}")));
        }
        if config.enable_mptcp {
            let message = format!("listener {name}: enable_mptcp can only be used with IP addresses");
            return Err(self.error("enable_mptcp", message));
        }
        if let Some(field) = tcp_feature(config) {
            return refuse(field, "has unsupported tcp listener feature");
        }
        if !config.socket_options.is_empty() {
            return refuse("socket_options", "does not support socket option");
        }
        if self.server.singletons.get::<InternalListenerSupport>().is_none() {
            return refuse("internal_listener", "InternalListener bootstrap extension is mandatory");
        }
        if reached_as.is_empty() {
            self.warn("name", "an internal listener without a name cannot be reached");
        }
        Ok(Endpoint::Internal(reached_as.into()))
    }

    fn kernel_endpoint(&self, address: &Address) -> Result<KernelEndpoint, BuildError> {
        let config = self.config;
        let addresses = self.addresses(address)?;
        let only_ip = addresses.iter().all(|at| at.address.socket().is_some());
        if config.enable_mptcp && !only_ip {
            let message = format!("listener {}: enable_mptcp can only be used with IP addresses", self.name);
            return Err(self.error("enable_mptcp", message));
        }
        if config.tcp_fast_open_queue_length.is_some_and(|length| length > 0) {
            let message = "has no effect: there is no safe way to set TCP_FASTOPEN; \
                           bit 0x400 of net.ipv4.tcp_fastopen turns it on for every listener";
            self.warn("tcp_fast_open_queue_length", message);
        }
        let balancer = config.connection_balance_config.map(|_exact| Arc::new(ExactBalancer::default()));
        Ok(KernelEndpoint {
            addresses,
            settings: socket_settings(config),
            bind_to_port: config.bind_to_port_or_default(),
            max_accepts_per_event: config.max_connections_to_accept_per_socket_event.unwrap_or(u32::MAX),
            balancer,
        })
    }

    fn addresses(&self, first: &Address) -> Result<Vec<ListenAddress>, BuildError> {
        let config = self.config;
        let options = socket_options(&config.socket_options, &self.path.field("socket_options"))?;
        let mut addresses = vec![resolve(first, options.clone(), &self.path.field("address"))?];
        for (at, additional) in config.additional_addresses.iter().enumerate() {
            let path = self.path.field("additional_addresses").index(at);
            let Some(address) = &additional.address else {
                return Err(BuildError::at(path, "address is necessary"));
            };
            if matches!(address, Address::EnvoyInternalAddress(_)) {
                let message = format!(
                    "error adding listener named '{}': use internal_listener field instead of address for internal listeners",
                    self.name
                );
                return Err(BuildError::at(path.field("address"), message));
            }
            let options = match &additional.socket_options {
                Some(own) => socket_options(
                    &own.socket_options,
                    &path.field("socket_options").field("socket_options"),
                )?,
                None => options.clone(),
            };
            addresses.push(resolve(address, options, &path.field("address"))?);
        }
        Ok(addresses)
    }
}

fn socket_options(
    options: &[SocketOption],
    path: &ConfigPath,
) -> Result<Vec<socket_option::SocketOption>, BuildError> {
    let wrong = |(at, message)| BuildError::at(path.index(at), message);
    socket_option::SocketOption::all(options).map_err(wrong)
}

/// A field that makes sense for kernel sockets only.
fn tcp_feature(config: &Listener) -> Option<&'static str> {
    let set = [
        ("connection_balance_config", config.connection_balance_config.is_some()),
        ("enable_reuse_port", config.enable_reuse_port.is_some()),
        ("freebind", config.freebind == Some(true)),
        ("tcp_backlog_size", config.tcp_backlog_size.is_some()),
        ("tcp_fast_open_queue_length", config.tcp_fast_open_queue_length.is_some()),
        ("transparent", config.transparent == Some(true)),
    ];
    set.into_iter().find_map(|(field, set)| set.then_some(field))
}

fn socket_settings(config: &Listener) -> SocketSettings {
    SocketSettings {
        reuse_port: config.reuse_port_or_default(),
        transparent: config.transparent.unwrap_or_default(),
        freebind: config.freebind.unwrap_or_default(),
        mptcp: config.enable_mptcp,
        // The kernel makes it net.core.somaxconn, which is Envoy's default.
        backlog: config.tcp_backlog_size.map_or(i32::MAX, |size| i32::try_from(size).unwrap_or(i32::MAX)),
    }
}
