//! An answer that a route gives itself.

use bytes::Bytes;
use http::StatusCode;

/// An answer from here.
#[derive(Debug, Clone)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}
