//! `envoy.filters.listener.original_dst`: puts back the address that a connection was meant for.
//!
//! A connection can reach a listener although its client wanted to go somewhere else. This filter finds out
//! where, and makes that the connection's local address: filter chain matching, logs and upstream hops then see the place the
//! client meant.
//!
//! | connection | where the address comes from |
//! |---|---|
//! | TCP, redirected by the kernel (iptables `REDIRECT`) | the kernel's `SO_ORIGINAL_DST` |
//! | TCP, on a transparent socket (`TPROXY`) | the socket: its own address is the one that was meant |
//! | from an internal listener's client | dynamic metadata, key `local` of `envoy.filters.listener.original_dst`; without that, filter state `envoy.filters.listener.original_dst.local_ip` |
//!
//! An internal connection may also bring its client's address, in the filter state
//! `envoy.filters.listener.original_dst.remote_ip`. Metadata and filter state cross an internal hop through the
//! `internal_upstream` transport socket, and metadata is usually that of the endpoint, so that one internal listener
//! can stand for many destinations:
//!
//! ```yaml
//! endpoint: {address: {envoy_internal_address: {server_listener_name: encap, endpoint_id: pod-1}}}
//! metadata:
//!   filter_metadata:
//!     envoy.filters.listener.original_dst: {local: "10.1.2.3:8080"}
//! ```
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/listener_filters/original_dst_filter>

mod internal;
mod kernel;
mod objects;

use std::{future, net::SocketAddr, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    address::Address,
    build_context::{BuildContext, BuildError},
    connection::BoxFuture,
    extension,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterConfig, ListenerFilterError},
    stream_info::StreamInfo,
};

/// `envoy.extensions.filters.listener.original_dst.v3.OriginalDst`; it has no fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct OriginalDst {}

/// Puts back the address that a connection was meant for.
#[extension(
    name = "envoy.filters.listener.original_dst",
    type_url = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
)]
impl ListenerFilterConfig for OriginalDst {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        Ok(Arc::new(OriginalDstFilter))
    }
}

struct OriginalDstFilter;

impl ListenerFilter for OriginalDstFilter {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        let local = socket.info.addresses.borrow().local().clone();
        match local {
            Address::Socket(_) => {
                if let Some(original) = socket.io.kernel_socket().and_then(kernel::original_destination) {
                    restore_local(&socket.info, original);
                }
            }
            Address::Internal(_) => internal::restore(&socket.info),
            Address::Pipe(_) => {}
        }
        Box::pin(future::ready(Ok(())))
    }
}

fn restore_local(info: &StreamInfo, original: SocketAddr) {
    tracing::debug!(target: "filter", "original_dst: set destination to {original}");
    info.addresses.borrow_mut().set_local(original.into());
    info.local_address_restored.set(true);
}

#[cfg(test)]
mod tests;
