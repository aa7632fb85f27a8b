//! What happens on each connection.

use std::{collections::HashSet, net::SocketAddr, sync::Arc};

use tokio::io::AsyncWriteExt;
use underpass_core::{
    client_connection::ConnectContext,
    connection::BoxFuture,
    filter_state::FilterState,
    io::{BoxIo, Io, KernelSocket},
    proxy_protocol::{self, Endpoints, FILTER_STATE_KEY, ProxyHeader, Subject, Tlv},
    runtime::PROXY_PROTOCOL_WITHOUT_ADDRESSES,
    stats::Counter,
    stream_info::StreamInfo,
    transport_socket::{TransportError, UpstreamTransportSocket},
};

use crate::config::Version;

/// The transport socket around another one.
pub(crate) struct UpstreamProxyProtocol {
    pub(crate) inner: Arc<dyn UpstreamTransportSocket>,
    pub(crate) version: Version,
    pub(crate) passed_through: PassedThrough,
    pub(crate) added: Vec<Tlv>,
    pub(crate) allow_unspecified: bool,
    pub(crate) tlvs_split_pools: bool,
    /// Headers that had to leave TLVs out. Created with the cluster, so that it can be seen at zero.
    pub(crate) tlvs_exceed_max_length: Counter,
}

/// Which TLVs of the client's header go on.
#[derive(Debug)]
pub(crate) enum PassedThrough {
    All,
    Only(HashSet<u8>),
}

/// On whose behalf a header is written.
enum Client {
    /// A stream with IP addresses.
    Known(Endpoints),
    /// A stream without.
    Unknown,
    /// Nobody in particular.
    Nobody,
}

impl UpstreamTransportSocket for UpstreamProxyProtocol {
    fn prepare(&self, context: &mut ConnectContext<'_>) {
        self.inner.prepare(context);
    }

    /// The header goes out before the inner transport socket says a word, since TLS may be what follows it.
    fn wrap<'a>(
        &'a self,
        mut io: BoxIo,
        context: &'a ConnectContext<'a>,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        Box::pin(async move {
            let header = self.header(&*io, context);
            let failed = |error| TransportError(format!("cannot send the PROXY protocol header: {error}"));
            io.write_all(&header).await.map_err(failed)?;
            io.flush().await.map_err(failed)?;
            context.cluster.stats.upstream_cx_tx_bytes_total.add(header.len() as u64);
            self.inner.wrap(io, context).await
        })
    }

    /// A connection whose header was about one client must not serve another.
    fn extend_pool_key(&self, downstream: &FilterState, key: &mut Vec<u8>) {
        if let Some(header) = downstream.get_as::<ProxyHeader>(FILTER_STATE_KEY) {
            let addresses = format!("{} {}", header.source, header.destination);
            key.extend(xxhash_rust::xxh64::xxh64(addresses.as_bytes(), 0).to_le_bytes());
            if self.tlvs_split_pools {
                let (tlvs, _) = proxy_protocol::v2(Subject::Unspecified, &self.tlvs(Some(header)));
                key.extend(xxhash_rust::xxh64::xxh64(&tlvs, 0).to_le_bytes());
            }
        }
        self.inner.extend_pool_key(downstream, key);
    }

    fn is_secure(&self) -> bool {
        self.inner.is_secure()
    }
}

impl UpstreamProxyProtocol {
    fn header(&self, io: &dyn Io, context: &ConnectContext<'_>) -> Vec<u8> {
        let filter_state = context.downstream.map(|info| info.filter_state.borrow());
        let received = filter_state.as_ref().and_then(|state| state.get_as::<ProxyHeader>(FILTER_STATE_KEY));
        let client = client(received, context.downstream);
        match self.version {
            Version::V1 => proxy_protocol::v1(match client {
                Client::Known(endpoints) => Some(endpoints),
                Client::Unknown => None,
                Client::Nobody => io.kernel_socket().and_then(own_endpoints),
            }),
            Version::V2 => self.header_v2(&client, received, context),
        }
    }

    fn header_v2(
        &self,
        client: &Client,
        received: Option<&ProxyHeader>,
        context: &ConnectContext<'_>,
    ) -> Vec<u8> {
        let subject = match client {
            Client::Known(endpoints) => Subject::Stream(*endpoints),
            Client::Unknown if !sends_without_addresses(context) => {
                self.tlvs_exceed_max_length.inc();
                return Vec::new();
            }
            Client::Unknown if self.allow_unspecified => Subject::Unspecified,
            Client::Unknown | Client::Nobody => Subject::Local,
        };
        let (header, all_fit) = proxy_protocol::v2(subject, &self.tlvs(received));
        if !all_fit {
            self.tlvs_exceed_max_length.inc();
        }
        header
    }

    /// The TLVs of a header: those that are added, then those of the client's header whose types are not among them.
    fn tlvs(&self, received: Option<&ProxyHeader>) -> Vec<Tlv> {
        let goes_on = |tlv: &&Tlv| match &self.passed_through {
            _ if self.added.iter().any(|added| added.kind == tlv.kind) => false,
            PassedThrough::All => true,
            PassedThrough::Only(kinds) => kinds.contains(&tlv.kind),
        };
        let received = received.into_iter().flat_map(|header| &header.tlvs).filter(goes_on);
        self.added.iter().chain(received).cloned().collect()
    }
}

/// The difference to Envoy, which takes a stream without IP addresses for TLVs that do not fit, and sends no header.
fn sends_without_addresses(context: &ConnectContext<'_>) -> bool {
    context.worker.server().runtime.snapshot().feature(PROXY_PROTOCOL_WITHOUT_ADDRESSES)
}

fn client(received: Option<&ProxyHeader>, downstream: Option<&StreamInfo>) -> Client {
    let known = |endpoints: Option<Endpoints>| endpoints.map_or(Client::Unknown, Client::Known);
    match (received, downstream) {
        (Some(header), _) => known(header.source.socket().zip(header.destination.socket())),
        (None, Some(info)) if info.details.protocol.get().is_none() => {
            let addresses = info.addresses.borrow();
            known(addresses.remote().socket().zip(addresses.local().socket()))
        }
        // The connection will serve other requests as well.
        (None, _) => Client::Nobody,
    }
}

/// The two ends of the upstream connection.
fn own_endpoints(socket: KernelSocket<'_>) -> Option<(SocketAddr, SocketAddr)> {
    let KernelSocket::Tcp(socket) = socket else { return None };
    Some((socket.local_addr().ok()?, socket.peer_addr().ok()?))
}

#[cfg(test)]
mod tests;
