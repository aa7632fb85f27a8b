//! Where a stream was meant to go.

use std::{net::SocketAddr, rc::Rc};

use underpass_core::{
    build_context::BuildError,
    cluster::LoadBalancerContext,
    config::{ConfigPath, MetadataKey, Ranged, Value},
    extension::Registration,
    filter_state::{AddressObject, OBJECT_FACTORY_CATEGORY, ObjectFactory},
    stats::Counter,
    stream_info::StreamInfo,
};

use crate::config::load_balancing::OriginalDstLbConfig;

/// The filter state that names a destination.
const FILTER_STATE: &str = "envoy.network.transport_socket.original_dst_address";

/// The header that names a destination, where nothing is set.
const HEADER: &str = "x-envoy-original-dst-host";

inventory::submit! {
    ObjectFactory {
        registration: Registration::named(
            OBJECT_FACTORY_CATEGORY,
            FILTER_STATE,
            env!("CARGO_PKG_NAME"),
            "Where a cluster of type ORIGINAL_DST connects to.",
        ),
        create: |text| Ok(Rc::new(AddressObject::parse(text)?)),
    }
}

/// Where the destination of a stream is looked for.
#[derive(Debug)]
pub(super) struct Destination {
    metadata: Option<MetadataKey>,
    /// By its lower-case name.
    header: Option<String>,
    port: Option<u16>,
}

impl Destination {
    pub(super) fn new(options: &OriginalDstLbConfig, path: &ConfigPath) -> Result<Self, BuildError> {
        let header = options.http_header_name.to_ascii_lowercase();
        if !options.use_http_header && !header.is_empty() {
            let message = format!(
                "ORIGINAL_DST cluster: invalid config http_header_name={} and use_http_header is false. Set \
                 use_http_header to true if http_header_name is desired.",
                options.http_header_name
            );
            return Err(BuildError::at(path.field("http_header_name"), message));
        }
        let header = if header.is_empty() { HEADER.to_owned() } else { header };
        Ok(Self {
            metadata: options.metadata_key.clone(),
            header: options.use_http_header.then_some(header),
            port: options.upstream_port_override.and_then(|port| u16::try_from(Ranged::get(port)).ok()),
        })
    }

    /// The destination, from the first of these that has one: filter state, metadata, a header, the local address if a
    /// listener filter restored it. Texts that are no address are counted and passed over. (So Envoy 1.40 was measured.)
    pub(super) fn find(&self, context: &LoadBalancerContext<'_>, invalid: &Counter) -> Option<SocketAddr> {
        let infos = || context.downstream.into_iter().chain(context.downstream_connection);
        let address = infos()
            .find_map(in_filter_state)
            .or_else(|| infos().find_map(|info| self.in_metadata(info, invalid)))
            .or_else(|| self.in_header(context, invalid))
            .or_else(|| context.downstream_connection.or(context.downstream).and_then(restored))?;
        Some(SocketAddr::new(address.ip(), self.port.unwrap_or(address.port())))
    }

    fn in_metadata(&self, info: &StreamInfo, invalid: &Counter) -> Option<SocketAddr> {
        let key = self.metadata.as_ref()?;
        let metadata = info.dynamic_metadata.borrow();
        parse(metadata.get(&key.key, &key.path()).and_then(Value::as_str)?, invalid)
    }

    fn in_header(&self, context: &LoadBalancerContext<'_>, invalid: &Counter) -> Option<SocketAddr> {
        parse(context.headers?.request(self.header.as_deref()?)?, invalid)
    }
}

fn in_filter_state(info: &StreamInfo) -> Option<SocketAddr> {
    info.filter_state.borrow().get_as::<AddressObject>(FILTER_STATE).map(|object| object.0)
}

fn restored(connection: &StreamInfo) -> Option<SocketAddr> {
    if !connection.local_address_restored.get() {
        return None;
    }
    connection.addresses.borrow().local().socket()
}

fn parse(text: &str, invalid: &Counter) -> Option<SocketAddr> {
    let address = AddressObject::parse(text);
    if let Err(error) = &address {
        tracing::debug!(target: "upstream", "original_dst: {error}");
        invalid.inc();
    }
    address.ok().map(|object| object.0)
}
