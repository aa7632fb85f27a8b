//! Requests from inside, and what only they may say.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-envoy-internal>

use http::{HeaderMap, HeaderName};
use underpass_core::{address::Address, config::CidrRange};

use crate::config::InternalAddressConfig;

/// What requests at the edge may not say.
const NOT_FROM_THE_EDGE: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// What no request from outside may say.
const NOT_FROM_OUTSIDE: [&str; 15] = [
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// Which addresses are inside; none unless set.
pub(super) struct InternalAddresses {
    unix_sockets: bool,
    ranges: Vec<CidrRange>,
}

impl InternalAddresses {
    pub(super) fn new(config: &InternalAddressConfig) -> Self {
        Self { unix_sockets: config.unix_sockets, ranges: config.cidr_ranges.clone() }
    }

    pub(super) fn contain(&self, address: &Address) -> bool {
        match address {
            Address::Socket(address) => self.ranges.iter().any(|range| range.contains(address.ip())),
            Address::Pipe(_) => self.unix_sockets,
            Address::Internal(_) => false,
        }
    }
}

/// Removes what a request from outside may not say; `any` tells whether it has any header of Envoy's.
pub(super) fn remove_headers(headers: &mut HeaderMap, edge: bool, any: bool, internal_only: &[HeaderName]) {
    if any {
        let edge = NOT_FROM_THE_EDGE.iter().filter(|_| edge);
        for name in NOT_FROM_OUTSIDE.iter().chain(edge) {
            headers.remove(*name);
        }
    }
    for name in internal_only {
        headers.remove(name);
    }
}
