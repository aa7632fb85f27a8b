//! Client connection factories: how a connection to an upstream host is opened, by the kind of its address.

use std::{io, net::SocketAddr, os::fd::BorrowedFd, rc::Rc, sync::Arc};

use crate::{
    address::{Address, AddressKind},
    cluster::{ClusterInfo, Host},
    connection::BoxFuture,
    extension::{NamedExtensions, Registration},
    io::BoxIo,
    stream_info::{Passthrough, StreamInfo},
    worker::Worker,
};

/// For whom and to where a connection is opened.
pub struct ConnectContext<'a> {
    /// The worker that will own the connection.
    pub worker: &'a Rc<Worker>,
    /// The cluster.
    pub cluster: &'a Arc<ClusterInfo>,
    /// The host; its address is the one to connect to, unless `address` says otherwise.
    pub host: &'a Arc<Host>,
    /// Where to connect.
    pub address: &'a Address,
    /// The stream on whose behalf it is opened, if there is one.
    pub downstream: Option<&'a StreamInfo>,
    /// What a user-space socket hands to the internal listener; transport sockets fill it in `prepare`.
    pub passthrough: Passthrough,
    /// Whether who connects reads from the connection as soon as it is there, so that nobody else need watch it for him.
    pub reads_at_once: bool,
}

/// A connected socket, not yet wrapped by the transport socket.
pub struct ConnectedSocket {
    /// The bytes.
    pub io: BoxIo,
    /// This end.
    pub local_address: Option<Address>,
    /// The peer's end.
    pub remote_address: Address,
}

/// Why connecting failed. The texts are Envoy's; a factory that has no error of the system makes one from the number that
/// fits best (`EINVAL`, …), since its words end up in logs.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It failed at once.
    #[error("immediate connect error: {}|remote address:{address}", system_message(.source))]
    Immediate {
        /// Where to.
        address: Address,
        /// What the system says.
        source: io::Error,
    },
    /// It failed after some waiting.
    #[error("delayed connect error: {}", system_message(.0))]
    Delayed(#[source] io::Error),
    /// There is no socket to be had; the fault is on this side.
    #[error("cannot open a socket: {}", system_message(.0))]
    Socket(#[source] io::Error),
    /// The source address cannot be used; the fault is on this side.
    #[error("failed to bind to {address}: {}", system_message(.source))]
    Bind {
        /// The source address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// What `strerror(3)` says, without the number that Rust adds.
pub(crate) fn system_message(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

/// What a cluster wants of its kernel sockets: source address, keepalive and other options. For factories that open
/// such sockets.
pub trait SocketSetup: Send + Sync {
    /// Prepares a socket before `connect(2)` to `remote`.
    fn before_connect(&self, socket: BorrowedFd<'_>, remote: &Address) -> Result<(), ConnectError>;
}

/// Opens connections to one kind of address; one per process, shared by all workers.
pub trait ClientConnectionFactory: Send + Sync {
    /// Opens a connection. The caller bounds the time (`connect_timeout`) by dropping the future.
    fn connect<'a>(
        &'a self,
        context: &'a mut ConnectContext<'_>,
    ) -> BoxFuture<'a, Result<ConnectedSocket, ConnectError>>;
}

/// The category under which factories are listed.
pub const CLIENT_CONNECTION_FACTORY_CATEGORY: &str = "client connection factory";

/// What a crate submits to inventory to serve a kind of address. Two for one kind fail at start-up.
pub struct ClientConnectionFactoryRegistration {
    /// Name and provider, for the list of extensions.
    pub registration: Registration,
    /// The kind of address it serves.
    pub kind: AddressKind,
    /// Makes the factory.
    pub new: fn() -> Arc<dyn ClientConnectionFactory>,
}

inventory::collect!(ClientConnectionFactoryRegistration);

inventory::submit! {
    NamedExtensions(|| {
        inventory::iter::<ClientConnectionFactoryRegistration>().map(|factory| &factory.registration).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_envoys_words() {
        let refused = || io::Error::from(rustix::io::Errno::CONNREFUSED);
        let address = Address::internal("nope", "");
        let immediate =
            ConnectError::Immediate { address, source: io::Error::from(rustix::io::Errno::INVAL) };
        insta::assert_snapshot!(immediate, @"immediate connect error: Invalid argument|remote address:envoy://nope/");
        insta::assert_snapshot!(ConnectError::Delayed(refused()), @"delayed connect error: Connection refused");
        let bind = ConnectError::Bind { address: ([9, 9, 9, 9], 0).into(), source: refused() };
        insta::assert_snapshot!(bind, @"failed to bind to 9.9.9.9:0: Connection refused");
    }
}
