//! Request ids that are UUIDs of version 4 (`envoy.extensions.request_id.uuid.v3`).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    extension,
};

use super::{RequestIdExtension, RequestIdExtensionConfig};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where in a UUID stands what it is: `4`, or in the ids that Envoy traces, why it is traced.
const TRACE_REASON_AT: usize = 14;
const NOT_TRACED: u8 = b'4';
const UUID_LENGTH: usize = 36;

/// `envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UuidRequestIdConfig {
    /// Whether an id may say that its request is traced; yes unless set.
    pub pack_trace_reason: Option<bool>,
    /// Whether the id decides what is traced; nothing is, here.
    pub use_request_id_for_trace_sampling: Option<bool>,
}

/// Request ids that are UUIDs.
#[extension(
    name = "envoy.request_id.uuid",
    type_url = "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
)]
impl RequestIdExtensionConfig for UuidRequestIdConfig {
    fn build(&self, _context: &BuildContext<'_>) -> Result<Arc<dyn RequestIdExtension>, BuildError> {
        Ok(Arc::new(UuidRequestId { pack_trace_reason: self.pack_trace_reason.unwrap_or(true) }))
    }
}

/// Makes UUIDs.
#[derive(Debug)]
pub struct UuidRequestId {
    pack_trace_reason: bool,
}

impl Default for UuidRequestId {
    fn default() -> Self {
        Self { pack_trace_reason: true }
    }
}

impl RequestIdExtension for UuidRequestId {
    /// An id that a request from outside keeps may not say that the request is traced: that is for this side to decide
    /// (`source/extensions/request_id/uuid/config.cc`).
    fn set(&self, headers: &mut HeaderMap, edge_request: bool, keep_request_id: bool) {
        let present = headers.get_mut(X_REQUEST_ID);
        match present {
            Some(present) if !present.is_empty() && (!edge_request || keep_request_id) => {
                if edge_request && self.pack_trace_reason {
                    clear_trace_reason(present);
                }
            }
            _ => {
                if let Ok(id) = HeaderValue::from_bytes(&uuid()) {
                    headers.insert(X_REQUEST_ID, id);
                }
            }
        }
    }

    fn get<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok())
    }

    fn set_in_response(&self, response: &mut HeaderMap, request: &HeaderMap) {
        if let Some(id) = request.get(X_REQUEST_ID) {
            response.insert(X_REQUEST_ID, id.clone());
        }
    }

    fn generate(&self) -> String {
        uuid().iter().map(|byte| char::from(*byte)).collect()
    }
}

fn clear_trace_reason(id: &mut HeaderValue) {
    let bytes = id.as_bytes();
    if bytes.len() != UUID_LENGTH {
        return;
    }
    let mut cleared = bytes.to_vec();
    cleared[TRACE_REASON_AT] = NOT_TRACED;
    if let Ok(value) = HeaderValue::from_bytes(&cleared) {
        *id = value;
    }
}

/// A random UUID (RFC 9562, section 5.4) as text.
fn uuid() -> [u8; UUID_LENGTH] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    const VERSION: u128 = 4 << 76;
    const VARIANT: u128 = 0b10 << 62;
    let mut rest = fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | VERSION | VARIANT;
    let mut text = [b'-'; UUID_LENGTH];
    for place in
        text.iter_mut().enumerate().filter(|(at, _)| !matches!(at, 8 | 13 | 18 | 23)).map(|(_, place)| place)
    {
        rest = rest.rotate_left(4);
        *place = DIGITS[(rest & 0xf) as usize];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(id: Option<&'static str>, edge_request: bool, keep_request_id: bool) -> String {
        let mut headers = HeaderMap::new();
        headers.extend(id.map(|id| (X_REQUEST_ID, HeaderValue::from_static(id))));
        UuidRequestId::default().set(&mut headers, edge_request, keep_request_id);
        headers["x-request-id"].to_str().unwrap().to_owned()
    }

    #[test]
    fn a_new_id_is_a_uuid_of_version_4() {
        let id = after(None, false, false);
        assert!(
            regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
                .unwrap()
                .is_match(&id),
            "{id}"
        );
        assert_ne!(id, UuidRequestId::default().generate());
    }

    #[test]
    fn an_id_from_outside_is_kept_only_if_it_may_be() {
        const TRACED: &str = "12345678-1234-9234-1234-123456789012";
        assert_eq!(after(Some(TRACED), false, false), TRACED);
        assert_ne!(after(Some(TRACED), true, false), TRACED);
        assert_eq!(after(Some(TRACED), true, true), "12345678-1234-4234-1234-123456789012");
        assert_eq!(after(Some("mine"), true, true), "mine");
    }
}
