//! What the proxy answered, in the client's filter state: for access logs, and for filters after the tunnel has ended.

use std::{any::Any, rc::Rc};

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use underpass_core::{
    filter_state::{Entry, FilterStateObject, LifeSpan, SharedWithUpstream},
    stream_info::StreamInfo,
};

/// The name of the object that holds the head of the answer.
pub(crate) const RESPONSE_HEADERS: &str = "envoy.tcp_proxy.propagate_response_headers";
/// The name of the object that holds the trailers.
pub(crate) const RESPONSE_TRAILERS: &str = "envoy.tcp_proxy.propagate_response_trailers";

/// Leaves headers under a name; those of an earlier attempt make place.
pub(crate) fn propagate(
    name: &'static str,
    status: Option<StatusCode>,
    headers: HeaderMap,
    info: &StreamInfo,
) {
    let entry = Entry {
        object: Rc::new(TunnelResponse { status, headers }),
        read_only: false,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::None,
    };
    if let Err(taken) = info.filter_state.borrow_mut().set(name, entry) {
        tracing::debug!(target: "filter", "[C{}] {taken}", info.connection_id);
    }
}

/// Headers as they came, `:status` first.
#[derive(Debug)]
struct TunnelResponse {
    status: Option<StatusCode>,
    headers: HeaderMap,
}

impl FilterStateObject for TunnelResponse {
    fn as_any(&self) -> &dyn Any {
        self
    }

    /// In the form of a `envoy.config.core.v3.HeaderMap`, as in Envoy, which has no text form of it.
    fn serialize_as_json(&self) -> Option<Value> {
        let status = self.status.iter().map(|status| json!({ "key": ":status", "value": status.as_str() }));
        let headers = self.headers.iter().map(
            |(name, value)| json!({ "key": name.as_str(), "value": String::from_utf8_lossy(value.as_bytes()) }),
        );
        Some(json!({ "headers": status.chain(headers).collect::<Vec<_>>() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_prints_as_in_envoy() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "today".parse().unwrap());
        headers.append("x-a", "1".parse().unwrap());
        headers.append("x-a", "2".parse().unwrap());
        let answer = TunnelResponse { status: Some(StatusCode::OK), headers };
        insta::assert_snapshot!(answer.serialize_as_json().unwrap(), @r#"{"headers":[{"key":":status","value":"200"},{"key":"date","value":"today"},{"key":"x-a","value":"1"},{"key":"x-a","value":"2"}]}"#);
    }
}
