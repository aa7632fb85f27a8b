//! The operators that this crate brings: what they print is what Envoy prints.

mod address;
mod filter_state;
mod grpc;
mod headers;
mod metadata;
mod path;
mod process;
mod stream;
mod times;
mod tls;
mod upstream;

use super::OperatorSet;

macro_rules! sets {
    ($($module:ident: $doc:literal,)+) => { $(
        inventory::submit! {
            OperatorSet::new(
                concat!("underpass.operators.", stringify!($module)), env!("CARGO_PKG_NAME"), $doc, $module::OPERATORS,
            )
        }
    )+ };
}

sets! {
    address: "Addresses of the downstream connection.",
    filter_state: "Filter state of the stream and of its upstream connection.",
    grpc: "The gRPC status of a response.",
    headers: "Headers and trailers of a request and its response.",
    metadata: "Static and dynamic metadata.",
    path: "The path of a request and its parameters.",
    process: "Host name, environment and generated ids.",
    stream: "What is known of a stream: bytes, flags, names.",
    times: "Times and durations.",
    tls: "TLS sessions and certificates.",
    upstream: "The upstream host, cluster and connection.",
}
