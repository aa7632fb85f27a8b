//! What the client side of an internal connection handed over.

use std::net::SocketAddr;

use underpass_core::{config::Value, filter_state::AddressObject, stream_info::StreamInfo};

use crate::{
    objects::{LOCAL, REMOTE},
    restore_local,
};

/// The namespace of the metadata, and the key in it.
const METADATA: (&str, &str) = ("envoy.filters.listener.original_dst", "local");

/// Takes over what came with the connection. Metadata goes before filter state: a text in it that is no address leaves the
/// local address alone, whatever the filter state says (Envoy's `original_dst.cc`).
pub(crate) fn restore(info: &StreamInfo) {
    let local = match metadata(info) {
        Some(text) => parse(&text),
        None => address(info, LOCAL),
    };
    if let Some(local) = local {
        restore_local(info, local);
    }
    if let Some(remote) = address(info, REMOTE) {
        tracing::debug!(target: "filter", "original_dst: set source from filter state to {remote}");
        info.addresses.borrow_mut().set_remote(remote.into());
    }
}

/// The text in the metadata; a value of another kind counts as none.
fn metadata(info: &StreamInfo) -> Option<String> {
    let metadata = info.dynamic_metadata.borrow();
    metadata.get(METADATA.0, &[METADATA.1]).and_then(Value::as_str).map(str::to_owned)
}

fn parse(text: &str) -> Option<SocketAddr> {
    AddressObject::parse(text)
        .map(|object| object.0)
        .inspect_err(|error| tracing::debug!(target: "filter", "original_dst: metadata: {error}"))
        .ok()
}

fn address(info: &StreamInfo, name: &str) -> Option<SocketAddr> {
    info.filter_state.borrow().get_as::<AddressObject>(name).map(|object| object.0)
}
