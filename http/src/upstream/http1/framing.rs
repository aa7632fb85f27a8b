//! What an answer says of its own length.

use http::{HeaderMap, Response, StatusCode, header};

/// Whether it contradicts itself, which Envoy takes for an error where hyper takes its choice: a wrong choice is what
/// smuggled answers are made of (RFC 9112, 6.3).
pub(super) fn is_contradictory<B>(
    response: &Response<B>,
    connects: bool,
    allow_chunked_length: bool,
) -> bool {
    let (status, headers) = (response.status(), response.headers());
    if connects && status.is_success() {
        // Of no meaning (RFC 9110, 9.3.6).
        return false;
    }
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return chunked || has_length(headers);
    }
    chunked && headers.contains_key(header::CONTENT_LENGTH) && !allow_chunked_length
}

/// Whether it says that bytes follow.
fn has_length(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}
