//! From configured addresses to such that a listener can have.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use underpass_core::{
    address::Address,
    build_context::BuildError,
    config::{self, ConfigPath, Pipe, Protocol, SocketAddress},
};

use super::socket::ListenAddress;
use crate::socket_option::SocketOption;

/// What fits into a `sockaddr_un`, the NUL at its end included (unix(7)).
const MAX_PIPE_PATH: usize = 108;

/// The address that a kernel socket is to be bound to, with the options of its sockets.
pub(crate) fn resolve(
    address: &config::Address,
    options: Vec<SocketOption>,
    path: &ConfigPath,
) -> Result<ListenAddress, BuildError> {
    match address {
        config::Address::SocketAddress(socket) => {
            let resolved = resolve_socket(socket, &path.field("socket_address"))?;
            Ok(ListenAddress {
                address: resolved.into(),
                ipv4_compat: socket.ipv4_compat,
                pipe_mode: 0,
                options,
            })
        }
        config::Address::Pipe(pipe) => resolve_pipe(pipe, options, &path.field("pipe")),
        config::Address::EnvoyInternalAddress(_) => {
            Err(BuildError::at(path.clone(), "an internal address cannot stand among others"))
        }
    }
}

fn resolve_socket(socket: &SocketAddress, path: &ConfigPath) -> Result<SocketAddr, BuildError> {
    let error = |field: &str, message: String| Err(BuildError::at(path.field(field), message));
    if socket.protocol == Protocol::Udp {
        return error("protocol", "UDP listeners are not implemented by Underpass".to_owned());
    }
    let Ok(ip) = socket.address.parse::<IpAddr>() else {
        let message = format!("malformed IP address: {}. A listener needs an IP address", &*socket.address);
        return error("address", message);
    };
    let Some(port) = socket.port_value else {
        return error("port_value", "a listener needs a port_value; 0 lets the kernel choose".to_owned());
    };
    if socket.ipv4_compat && !may_be_ipv4_compatible(ip) {
        let message =
            format!("Only IPv6 address '::' or valid IPv4-mapped IPv6 address can set ipv4_compat: {ip}");
        return error("ipv4_compat", message);
    }
    Ok(SocketAddr::new(ip, port))
}

fn may_be_ipv4_compatible(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unspecified() || v6.to_ipv4_mapped().is_some())
}

/// Says what is wrong with the path of a pipe that does not fit into an address.
pub(crate) fn check_pipe_path(name: &str) -> Result<(), String> {
    if name.len() < MAX_PIPE_PATH {
        return Ok(());
    }
    Err(format!("Path \"{name}\" exceeds maximum UNIX domain socket path size of {MAX_PIPE_PATH}."))
}

fn resolve_pipe(
    pipe: &Pipe,
    options: Vec<SocketOption>,
    path: &ConfigPath,
) -> Result<ListenAddress, BuildError> {
    let name: &str = &pipe.path;
    check_pipe_path(name).map_err(|message| BuildError::at(path.field("path"), message))?;
    if name.starts_with('@') && pipe.mode != 0 {
        return Err(BuildError::at(path.field("mode"), "Cannot set mode for Abstract AF_UNIX sockets"));
    }
    let address = Address::Pipe(Path::new(name).into());
    Ok(ListenAddress { address, ipv4_compat: false, pipe_mode: pipe.mode, options })
}
