//! What codecs count, under Envoy's names.

use underpass_core::{stat_group, stats::Scope};

stat_group! {
    /// `http1.…`.
    pub struct Http1Stats {
        /// Headers dropped because of an underscore in their name.
        counter dropped_headers_with_underscores,
        /// Requests with `metadata`, which HTTP/1 has none of.
        counter metadata_not_supported_error,
        /// Requests refused because of an underscore in the name of a header.
        counter requests_rejected_with_underscores_in_headers,
        /// Connections with too many answers waiting.
        counter response_flood,
    }
}

stat_group! {
    /// `http2.…`.
    pub struct Http2Stats {
        /// Headers dropped because of an underscore in their name.
        counter dropped_headers_with_underscores,
        /// GOAWAY frames sent.
        counter goaway_sent,
        /// Requests whose headers are too large.
        counter header_overflow,
        /// Frames that are invalid at the level of headers.
        counter headers_cb_no_stream,
        /// Connections closed because of too many frames that carry nothing.
        counter inbound_empty_frames_flood,
        /// Connections closed because of too many PRIORITY frames.
        counter inbound_priority_frames_flood,
        /// Connections closed because of too many WINDOW_UPDATE frames.
        counter inbound_window_update_frames_flood,
        /// PING frames without answer.
        counter keepalive_timeout,
        /// Connections closed because of too many control frames in waiting.
        counter outbound_control_flood,
        /// Connections closed because of too many frames in waiting.
        counter outbound_flood,
        /// Requests refused because of an underscore in the name of a header.
        counter requests_rejected_with_underscores_in_headers,
        /// Frames that break the rules of messages.
        counter rx_messaging_error,
        /// Streams reset by the client.
        counter rx_reset,
        /// Streams that ended because their data could not be sent.
        counter stream_refused_errors,
        /// Trailers received.
        counter trailers,
        /// Frames that could not be sent.
        counter tx_flush_timeout,
        /// Streams reset by this proxy.
        counter tx_reset,
        /// Streams open.
        gauge streams_active,
        /// Control frames that wait to be sent.
        gauge outbound_control_frames_active,
        /// Frames that wait to be sent.
        gauge outbound_frames_active,
        /// Bytes that wait for a window.
        gauge pending_send_bytes,
        /// Header fields that were deferred.
        gauge deferred_stream_close,
    }
}

/// What both codecs count; the stats of both are there from the first on, as Envoy makes them with the codec.
#[derive(Debug, Clone)]
pub struct CodecStats {
    /// HTTP/1.
    pub http1: Http1Stats,
    /// HTTP/2.
    pub http2: Http2Stats,
}

impl CodecStats {
    /// Below the root for a downstream, or below a cluster.
    pub fn new(scope: &Scope) -> Self {
        Self { http1: Http1Stats::new(&scope.scope("http1")), http2: Http2Stats::new(&scope.scope("http2")) }
    }
}
