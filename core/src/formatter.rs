//! Substitution format strings: the texts of access logs and headers, with command operators such as `%START_TIME%`.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>

use crate::{access_log::AccessLogType, stream_info::StreamInfo};

/// What operators read from.
#[derive(Clone, Copy)]
pub struct FormatContext<'a> {
    /// The stream.
    pub info: &'a StreamInfo,
    /// At which moment of its life.
    pub access_log_type: AccessLogType,
    /// Its headers, where it is an HTTP request.
    pub headers: Option<&'a dyn Headers>,
}

impl<'a> FormatContext<'a> {
    /// A stream that has no headers.
    pub fn new(info: &'a StreamInfo, access_log_type: AccessLogType) -> Self {
        Self { info, access_log_type, headers: None }
    }
}

/// The headers of an HTTP request, as formatters and filters of access logs see them.
pub trait Headers {
    /// A header of the request, by its lower-case name; `:method` and the like included.
    fn request(&self, name: &str) -> Option<&str>;

    /// A header of the response.
    fn response(&self, name: &str) -> Option<&str>;

    /// A trailer of the response.
    fn response_trailer(&self, name: &str) -> Option<&str>;
}
