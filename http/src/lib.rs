//! HTTP building blocks for extensions: requests, bodies, filters, routes, codecs over `Io`, and upstream pools.
//!
//! A request travels like this: the connection manager reads it with a codec ([`downstream`]), makes an [`HttpStream`] of
//! it, and runs it through a chain of [`HttpFilter`](filter::HttpFilter)s. The last one, the router, asks the stream for
//! its [`Route`](route::Route), takes a place in an upstream pool ([`upstream`]) and returns the answer, which travels
//! back through the same filters. What is neither request nor answer but raw bytes (CONNECT, WebSocket) becomes a
//! [`Tunnel`](tunnel::Tunnel).

mod batched;
pub mod body;
pub mod body_io;
pub mod codec_stats;
pub mod connection_header;
pub mod downstream;
pub mod filter;
mod frames;
pub mod grpc_timeout;
pub mod h2_stream_io;
pub mod head;
mod header_lines;
pub mod header_mutation;
pub mod inline_headers;
pub mod local_reply;
pub mod message_headers;
pub mod path_normalization;
pub mod protocol_options;
mod read_size;
pub mod request_id;
pub mod reset;
pub mod response_stats;
pub mod route;
pub mod stream;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tunnel;
pub mod upstream;

pub use self::{
    body::{Body, BodyError},
    head::RequestHead,
    stream::{HttpConnection, HttpStream},
};

/// The answer to a request.
pub type Response = http::Response<Body>;
