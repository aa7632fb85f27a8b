//! Addresses of listeners and endpoints: kernel sockets, unix pipes, and in-process internal addresses.

use std::{
    fmt,
    net::SocketAddr,
    path::Path,
    sync::{Arc, LazyLock},
};

/// The listener name that stands for the client side of every internal connection, as in Envoy.
pub const INTERNAL_CLIENT: &str = "internal_client_address";

/// Where a connection comes from or goes to.
///
/// `Display` gives Envoy's form: `127.0.0.1:80`, `[::1]:80`, `/run/x.sock`, `envoy://listener/endpoint_id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A unix domain socket; a path that starts with `@` is in Linux's abstract namespace.
    Pipe(Arc<Path>),
    /// A listener in this process. Shared: every hop of every connection has it in several places.
    Internal(Arc<InternalAddress>),
}

/// `envoy://<listener>/<endpoint_id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InternalAddress {
    /// The name of the internal listener.
    pub listener: Arc<str>,
    /// Tells endpoints of one listener apart; often empty.
    pub endpoint_id: Arc<str>,
}

/// The kinds of address, each with a client connection factory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AddressKind {
    /// TCP over IPv4 or IPv6.
    Socket,
    /// A unix domain socket.
    Pipe,
    /// A listener in this process.
    EnvoyInternal,
}

impl AddressKind {
    /// The name by which a client connection factory is found.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::EnvoyInternal => "envoy_internal",
        }
    }
}

/// One for the whole process, since every hop of every connection has it in several places.
pub(crate) static SHARED_INTERNAL_CLIENT: LazyLock<Address> =
    LazyLock::new(|| Address::internal(INTERNAL_CLIENT, ""));

impl Address {
    /// An internal address.
    pub fn internal(listener: impl Into<Arc<str>>, endpoint_id: impl Into<Arc<str>>) -> Self {
        let (listener, endpoint_id) = (listener.into(), endpoint_id.into());
        Self::Internal(Arc::new(InternalAddress { listener, endpoint_id }))
    }

    /// The source address of every connection to an internal listener.
    pub fn internal_client() -> Self {
        SHARED_INTERNAL_CLIENT.clone()
    }

    /// Which client connection factory serves this address.
    pub fn kind(&self) -> AddressKind {
        match self {
            Self::Socket(_) => AddressKind::Socket,
            Self::Pipe(_) => AddressKind::Pipe,
            Self::Internal(_) => AddressKind::EnvoyInternal,
        }
    }

    /// The IP address and port, if this is a kernel socket.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            _ => None,
        }
    }

    /// The IP port, if there is one.
    pub fn port(&self) -> Option<u16> {
        self.socket().map(|address| address.port())
    }

    /// The internal address, if it is one.
    pub fn as_internal(&self) -> Option<&InternalAddress> {
        match self {
            Self::Internal(address) => Some(address),
            _ => None,
        }
    }

    /// The address without its port, as `%..._ADDRESS_WITHOUT_PORT%` prints it; IPv6 without brackets.
    pub fn without_port(&self) -> String {
        match self {
            Self::Socket(address) => address.ip().to_string(),
            other => other.to_string(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Pipe(path) => path.display().fmt(f),
            Self::Internal(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for InternalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "envoy://{}/{}", self.listener, self.endpoint_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_envoy_prints_them() {
        assert!(
            size_of::<Address>() <= 32,
            "{} bytes in each of a connection's addresses",
            size_of::<Address>()
        );
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(Address::from(v6).to_string(), "[::1]:80");
        assert_eq!(Address::from(v6).without_port(), "::1");
        assert_eq!(Address::internal("inner", "ep1").to_string(), "envoy://inner/ep1");
        assert_eq!(Address::internal("inner", "").without_port(), "envoy://inner/");
        assert_eq!(Address::internal_client().to_string(), "envoy://internal_client_address/");
    }
}
