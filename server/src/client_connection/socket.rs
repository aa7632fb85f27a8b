//! Connections over TCP.

use std::{future::poll_fn, net::SocketAddr, os::fd::AsFd, sync::Arc};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{io::Interest, net::TcpStream};
use underpass_core::{
    address::{Address, AddressKind},
    client_connection::{
        CLIENT_CONNECTION_FACTORY_CATEGORY, ClientConnectionFactory, ClientConnectionFactoryRegistration,
        ConnectContext, ConnectError, ConnectedSocket, SocketSetup,
    },
    connection::BoxFuture,
    extension::Registration,
};

/// Connects to IP addresses.
pub(crate) struct SocketFactory;

inventory::submit! {
    ClientConnectionFactoryRegistration {
        registration: Registration::named(
            CLIENT_CONNECTION_FACTORY_CATEGORY,
            "envoy.network.connection.client.default",
            env!("CARGO_PKG_NAME"),
            "Connects over TCP.",
        ),
        kind: AddressKind::Socket,
        new: || Arc::new(SocketFactory),
    }
}

impl ClientConnectionFactory for SocketFactory {
    fn connect<'a>(
        &'a self,
        context: &'a mut ConnectContext<'_>,
    ) -> BoxFuture<'a, Result<ConnectedSocket, ConnectError>> {
        Box::pin(async move {
            let Some(to) = context.address.socket() else {
                return Err(ConnectError::Socket(std::io::ErrorKind::Unsupported.into()));
            };
            let stream = connect(to, context.cluster.socket_setup.as_deref()).await?;
            let local_address = stream.local_addr().ok().map(Address::Socket);
            Ok(ConnectedSocket { io: Box::new(stream), local_address, remote_address: Address::Socket(to) })
        })
    }
}

/// Connects, and tells an error of `connect(2)` itself from one that came later.
async fn connect(to: SocketAddr, setup: Option<&dyn SocketSetup>) -> Result<TcpStream, ConnectError> {
    let immediate = |source| ConnectError::Immediate { address: Address::Socket(to), source };
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket =
        Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP)).map_err(ConnectError::Socket)?;
    if let Some(setup) = setup {
        setup.before_connect(socket.as_fd(), &Address::Socket(to))?;
    }
    // As Envoy does: a proxy cannot know that more bytes are about to come.
    socket.set_tcp_nodelay(true).map_err(ConnectError::Socket)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            return Err(immediate(error));
        }
        Ok(()) | Err(_) => {}
    }
    let stream = TcpStream::from_std(socket.into()).map_err(ConnectError::Socket)?;
    // This registers the task without the list of waiters that `writable` keeps.
    poll_fn(|cx| stream.poll_write_ready(cx)).await.map_err(ConnectError::Delayed)?;
    let ready = stream.ready(Interest::WRITABLE).await.map_err(ConnectError::Delayed)?;
    // A socket that could not be connected is hung up, so the others need not be asked.
    if ready.is_write_closed()
        && let Some(error) = stream.take_error().map_err(ConnectError::Delayed)?
    {
        return Err(ConnectError::Delayed(error));
    }
    Ok(stream)
}
