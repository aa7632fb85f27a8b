//! Connections to unix domain sockets, those of Linux's abstract namespace included.

use std::{
    io,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
    sync::Arc,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::UnixStream;
use underpass_core::{
    address::{Address, AddressKind},
    client_connection::{
        CLIENT_CONNECTION_FACTORY_CATEGORY, ClientConnectionFactory, ClientConnectionFactoryRegistration,
        ConnectContext, ConnectError, ConnectedSocket,
    },
    connection::BoxFuture,
    extension::Registration,
};

/// Connects to paths.
pub(crate) struct PipeFactory;

inventory::submit! {
    ClientConnectionFactoryRegistration {
        registration: Registration::named(
            CLIENT_CONNECTION_FACTORY_CATEGORY,
            "envoy.network.connection.client.pipe",
            env!("CARGO_PKG_NAME"),
            "Connects to unix domain sockets.",
        ),
        kind: AddressKind::Pipe,
        new: || Arc::new(PipeFactory),
    }
}

impl ClientConnectionFactory for PipeFactory {
    fn connect<'a>(
        &'a self,
        context: &'a mut ConnectContext<'_>,
    ) -> BoxFuture<'a, Result<ConnectedSocket, ConnectError>> {
        Box::pin(async move {
            let Address::Pipe(path) = context.address else {
                return Err(ConnectError::Socket(io::ErrorKind::Unsupported.into()));
            };
            let immediate = |source| ConnectError::Immediate { address: context.address.clone(), source };
            let address = socket_address(path).map_err(immediate)?;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(|error| ConnectError::Socket(error.into()))?;
            // A unix socket connects at once, or not at all.
            connect(socket.as_fd(), &address).map_err(|error| immediate(error.into()))?;
            let stream = UnixStream::from_std(socket.into()).map_err(ConnectError::Socket)?;
            // This end is not bound to a path, so it has no address.
            Ok(ConnectedSocket {
                io: Box::new(stream),
                local_address: None,
                remote_address: context.address.clone(),
            })
        })
    }
}

/// A path, or after `@` a name of the abstract namespace.
fn socket_address(path: &Path) -> io::Result<SocketAddrUnix> {
    let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(path),
    };
    Ok(address?)
}
