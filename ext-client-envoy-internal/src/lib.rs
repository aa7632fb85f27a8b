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

mod connecting;
mod hop_limit;

use std::{io, sync::Arc};

use rustix::io::Errno;
use underpass_core::{
    address::{Address, AddressKind},
    client_connection::{
        CLIENT_CONNECTION_FACTORY_CATEGORY, ClientConnectionFactory, ClientConnectionFactoryRegistration,
        ConnectContext, ConnectError, ConnectedSocket,
    },
    connection::BoxFuture,
    extension::Registration,
    internal_listener::InternalListenerRegistry,
    user_space_socket::{PairOptions, pair},
};

use self::{
    connecting::{Connecting, NotConnected},
    hop_limit::HopLimit,
};

/// After how many turns of the event loop Envoy reports an immediate error. A connection across an internal hop counts as connected
/// before: where the second hop of a chain fails like this, Envoy logs `UF` for the second and `UR` for the first.
const IMMEDIATE_ERROR_AFTER: u32 = 3;

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
                    context.worker.turns().pass(IMMEDIATE_ERROR_AFTER).await;
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
        if context.reads_at_once {
            client.promise_to_read();
        }
        listener.accept(server, context.address.clone());

        Connecting::new(&mut client, context.worker.turns(), hops).await.map_err(
            |failure| match failure {
                NotConnected::AtOnce => immediate(context.address, Errno::INVAL.into()),
                NotConnected::Later => ConnectError::Delayed(Errno::INVAL.into()),
            },
        )?;
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

#[cfg(test)]
mod tests;
