//! Upstream connections for HTTP: pools, and the client sides of HTTP/1 and HTTP/2.
//!
//! Who has a request and a host calls [`acquire`] and gets a [`PooledStream`]: a place for one request on a connection
//! that is open. It then [sends](PooledStream::send) the request, or [opens a tunnel](PooledStream::tunnel). There is a
//! pool for each worker, host, protocol, routing priority and *pool key* (what the transport socket takes from the
//! downstream's filter state, which must not be mixed on one connection).
//!
//! A pool decides about connections as Envoy does (`source/common/conn_pool/conn_pool_base.cc`): a request takes a
//! connection that has room, else it waits, and there are as many connections on their way as the waiting requests need.
//! <https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/connection_pooling>

mod accounting;
mod http1;
mod http2;
mod keepalive;
mod metered;
mod pool;
mod pools;
mod protocol;
mod stream;

pub(crate) use self::http1::Http1Answer;
pub use self::{
    pools::{PoolRequest, acquire},
    protocol::Protocol,
    stream::{Established, InterimAnswers, PooledStream, Trailers},
};

#[cfg(test)]
mod tests;
