//! What holds where the configuration says nothing: Envoy's defaults.

use std::time::Duration;

use super::{HcmAccessLogOptions, HttpConnectionManager};

const SERVER_NAME: &str = "envoy";
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
const DELAYED_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_REQUEST_HEADERS_KB: u32 = 60;

impl HttpConnectionManager {
    /// What stands in the `server` header.
    pub fn server_name_or_default(&self) -> &str {
        if self.server_name.is_empty() { SERVER_NAME } else { &self.server_name }
    }

    /// How many bytes the headers of a request may have.
    pub fn max_request_headers_bytes(&self) -> usize {
        self.max_request_headers_kb.unwrap_or(MAX_REQUEST_HEADERS_KB) as usize * 1024
    }

    /// How long a stream may be silent, unless its route says otherwise; `None` for ever.
    pub fn stream_idle_timeout_or_default(&self) -> Option<Duration> {
        unless_zero(self.stream_idle_timeout.or(Some(STREAM_IDLE_TIMEOUT)))
    }

    /// How long a whole request may take to arrive; `None` for ever.
    pub fn request_timeout_if_any(&self) -> Option<Duration> {
        unless_zero(self.request_timeout)
    }

    /// How long the headers of a request may take to arrive; `None` for ever.
    pub fn request_headers_timeout_if_any(&self) -> Option<Duration> {
        unless_zero(self.request_headers_timeout)
    }

    /// How long HTTP/2 waits between the two GOAWAY of a drain.
    pub fn drain_timeout_or_default(&self) -> Duration {
        self.drain_timeout.unwrap_or(DRAIN_TIMEOUT)
    }

    /// How long a connection is kept for the peer to end it; `None` for not at all.
    pub fn delayed_close_timeout_or_default(&self) -> Option<Duration> {
        unless_zero(self.delayed_close_timeout.or(Some(DELAYED_CLOSE_TIMEOUT)))
    }

    /// When requests are logged, with the old fields taken in.
    pub fn access_log_options_or_default(&self) -> HcmAccessLogOptions {
        self.access_log_options.unwrap_or(HcmAccessLogOptions {
            access_log_flush_interval: self.access_log_flush_interval,
            flush_access_log_on_new_request: self.flush_access_log_on_new_request,
            flush_log_on_tunnel_successfully_established: false,
        })
    }
}

fn unless_zero(duration: Option<Duration>) -> Option<Duration> {
    duration.filter(|duration| !duration.is_zero())
}
