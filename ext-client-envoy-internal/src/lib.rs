//! Opens connections to internal listeners: the way from a cluster whose endpoints have an `envoy_internal_address`
//! to the listener of that name.
//!
//! Nobody configures it: a client connection factory is chosen by the kind of the address. `connect` makes a pair of
//! user-space sockets, leaves in it what the upstream transport socket wants to hand over, gives one half to the internal
//! listener of the same worker, and waits until the other half counts as connected. What can go wrong is what Envoy
//! reports:
//!
//! | what happens | the error |
//! |---|---|
//! | no such listener, or no bootstrap extension `envoy.bootstrap.internal_listener` | `Invalid argument`, immediate |
//! | the listener closes the connection while it takes it (its cluster does not exist, a limit is reached) | `Invalid argument`, immediate |
//! | the listener closes the connection before the client half counts as connected (its upstream refuses) | `Invalid argument`, delayed |
//! | the connection came through `underpass.max_internal_hops` listeners already | `Internal hop limit`, immediate |

mod hop_limit;

use std::{future::poll_fn, io, sync::Arc, task::Poll};

use rustix::io::Errno;
use tokio::task::yield_now;
use underpass_core::{
    address::{Address, AddressKind},
    client_connection::{
        CLIENT_CONNECTION_FACTORY_CATEGORY, ClientConnectionFactory, ClientConnectionFactoryRegistration,
        ConnectContext, ConnectError, ConnectedSocket,
    },
    connection::BoxFuture,
    extension::Registration,
    internal_listener::InternalListenerRegistry,
    io::Io,
    user_space_socket::{PairOptions, UserSpaceSocket, pair},
};

use self::hop_limit::HopLimit;

inventory::submit! {
    ClientConnectionFactoryRegistration {
        registration: Registration::named(
            CLIENT_CONNECTION_FACTORY_CATEGORY,
            "network.connection.client.envoy_internal",
            env!("CARGO_PKG_NAME"),
            "Opens connections to internal listeners.",
        ),
        kind: AddressKind::EnvoyInternal,
        new: || Arc::new(EnvoyInternal::default()),
    }
}

/// The factory for internal addresses.
#[derive(Debug, Default)]
struct EnvoyInternal {
    hop_limit: HopLimit,
}

impl ClientConnectionFactory for EnvoyInternal {
    fn connect<'a>(
        &'a self,
        context: &'a mut ConnectContext<'_>,
    ) -> BoxFuture<'a, Result<ConnectedSocket, ConnectError>> {
        Box::pin(async move {
            match self.open(context).await {
                Err(error @ ConnectError::Immediate { .. }) => {
                    later().await;
                    Err(error)
                }
                outcome => outcome,
            }
        })
    }
}

impl EnvoyInternal {
    async fn open(&self, context: &mut ConnectContext<'_>) -> Result<ConnectedSocket, ConnectError> {
        let refused = || immediate(context.address, Errno::INVAL.into());
        let address = context.address.as_internal().ok_or_else(refused)?;
        let hops = self.hop_limit.next_hop(context, &address.listener)?;
        let registry = context.worker.slots().get::<InternalListenerRegistry>().ok_or_else(refused)?;
        let listener = registry.get(&address.listener).ok_or_else(refused)?;

        let options = PairOptions::new(context.address.clone()).with_buffer_size(registry.buffer_size());
        let (mut client, server) = pair(options);
        let mut passthrough = std::mem::take(&mut context.passthrough);
        passthrough.internal_hops = hops;
        client.set_passthrough(passthrough);
        listener.accept(server, context.address.clone());

        listener_looks_at_it().await;
        if is_closed(&mut client).await && !was_of_use(&client) {
            return Err(immediate(context.address, Errno::INVAL.into()));
        }
        let connected = client.connected().await.is_ok() && !closes_soon_after(&mut client, hops).await;
        if !connected && !was_of_use(&client) {
            return Err(ConnectError::Delayed(Errno::INVAL.into()));
        }
        Ok(ConnectedSocket {
            local_address: Some(Address::internal_client()),
            remote_address: context.address.clone(),
            io: Box::new(client),
        })
    }
}

/// Envoy's user-space sockets report EINVAL for everything that keeps them from connecting.
fn immediate(address: &Address, source: io::Error) -> ConnectError {
    ConnectError::Immediate { address: address.clone(), source }
}

/// Lets the tasks run that are ready now, without a look at the kernel: the listener decides whether it wants the
/// connection.
async fn listener_looks_at_it() {
    let mut looked = false;
    poll_fn(|cx| {
        if looked {
            return Poll::Ready(());
        }
        looked = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether the listener has answered, or has asked a proxy for a tunnel: if it closes after that, however soon, it has been
/// connected to.
fn was_of_use(client: &UserSpaceSocket) -> bool {
    client.unread() > 0 || client.refusal_note().is_some_and(|note| note.was_asked())
}

async fn is_closed(client: &mut UserSpaceSocket) -> bool {
    poll_fn(|cx| Poll::Ready(client.poll_peer_gone(cx).is_ready())).await
}

/// Whether the listener closes the connection just after the moment in which it counts as connected. Envoy notices that on
/// all but the first of several hops in a row: when the upstream behind three of them refuses, it logs `UR` for the first,
/// and `UF` for the others and for the last listener. On the second hop it notices even a listener behind it that is absent,
/// which takes a turn more; on the third it does not.
async fn closes_soon_after(client: &mut UserSpaceSocket, hops: u32) -> bool {
    let turns = match hops {
        0 | 1 => return false,
        2 => 2,
        _ => 1,
    };
    let connected = async {
        for _turn in 0..turns {
            yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = poll_fn(|cx| client.poll_peer_gone(cx)) => true,
        () = connected => false,
    }
}

/// Waits as long as Envoy takes to report an immediate error, which is longer than a connection across an internal hop
/// takes to count as connected: where the second hop of a chain fails like this, Envoy logs `UF` for the second and `UR`
/// for the first.
async fn later() {
    for _turn in 0..3 {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests;
