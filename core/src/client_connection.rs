//! Client connection factories: how a connection to an upstream host is opened, by the kind of its address.

use std::{io, rc::Rc, sync::Arc};

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

/// Why connecting failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", if *.immediate { "immediate connect error" } else { "delayed connect error" })]
pub struct ConnectError {
    /// Whether it failed at once, rather than after waiting; Envoy names the two differently.
    pub immediate: bool,
    /// What the system says.
    #[source]
    pub source: io::Error,
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
