//! Substitution format strings: the texts of access logs and headers, with command operators such as `%START_TIME%`.
//!
//! A format is parsed once ([`Formatter`] for text, [`JsonFormatter`] for JSON, [`LogFormat`] for either) and then
//! printed for each stream. Operators are found by name among the [`Operators`] that are linked: this crate brings those
//! that read what is known of a stream and its headers, and any crate can add more ([`OperatorSet`]).
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>

mod error;
mod json;
mod log_format;
mod operator;
mod operators;
mod output;
mod parse;
mod text;
mod time;

pub use error::FormatError;
pub use json::JsonFormatter;
pub use log_format::LogFormat;
pub use operator::{Command, DuplicateOperator, Operator, OperatorEntry, OperatorSet, Operators};
pub use output::Output;
pub use text::Formatter;

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
    /// A header of the request, by its lower-case name; `:method` and the like included. Of several, the first.
    fn request(&self, name: &str) -> Option<&str>;

    /// A header of the response.
    fn response(&self, name: &str) -> Option<&str>;

    /// A trailer of the response.
    fn response_trailer(&self, name: &str) -> Option<&str>;

    /// How many bytes names and values have: of the request's headers, the response's headers and its trailers.
    fn sizes(&self) -> HeaderSizes {
        HeaderSizes::default()
    }

    /// The body of a response that this proxy made itself.
    #[expect(clippy::unnecessary_literal_bound, reason = "others return what they hold")]
    fn local_reply_body(&self) -> &str {
        ""
    }
}

/// How many bytes the names and values of headers have together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderSizes {
    /// The request's headers.
    pub request: u64,
    /// The response's headers.
    pub response: u64,
    /// The response's trailers.
    pub response_trailers: u64,
}

#[cfg(test)]
mod tests;
