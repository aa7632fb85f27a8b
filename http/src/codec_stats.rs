//! What codecs count, under Envoy's names: below the root for clients, below `cluster.<name>` for upstreams.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/stats#per-codec-statistics>

use std::sync::{Arc, OnceLock};

use underpass_core::{cluster::ClusterInfo, stat_group, stats::Scope};

stat_group! {
    /// `http1.…`.
    pub struct Http1CodecStats {
        /// Headers that were dropped for an underscore in their name.
        counter dropped_headers_with_underscores,
        /// METADATA that could not be passed on.
        counter metadata_not_supported_error,
        /// Requests that were refused for an underscore in a header's name.
        counter requests_rejected_with_underscores_in_headers,
        /// Connections that were closed since too many answers waited.
        counter response_flood,
    }
}

stat_group! {
    /// `http2.…`.
    pub struct Http2CodecStats {
        /// Messages whose cookies are too large.
        counter cookies_total_bytes_too_large,
        /// Streams whose end waits for their data to be sent.
        gauge deferred_stream_close,
        /// Headers that were dropped for an underscore in their name.
        counter dropped_headers_with_underscores,
        /// GOAWAY frames sent.
        counter goaway_sent,
        /// Messages with too many bytes of headers.
        counter header_list_size_too_large,
        /// Messages with too many headers, or too large ones.
        counter header_overflow,
        /// Headers of streams that do not exist.
        counter headers_cb_no_stream,
        /// Connections that were closed for too many frames without content.
        counter inbound_empty_frames_flood,
        /// Connections that were closed for too many PRIORITY frames.
        counter inbound_priority_frames_flood,
        /// Connections that were closed for too many WINDOW_UPDATE frames.
        counter inbound_window_update_frames_flood,
        /// Pings that were not answered in time.
        counter keepalive_timeout,
        /// Empty METADATA frames.
        counter metadata_empty_frames,
        /// Connections with clients, by one of Envoy's two codecs.
        counter nghttp2_downstream_connections,
        /// Connections to upstreams, by one of Envoy's two codecs.
        counter nghttp2_upstream_connections,
        /// Connections with clients, by the other codec.
        counter oghttp2_downstream_connections,
        /// Connections to upstreams, by the other codec.
        counter oghttp2_upstream_connections,
        /// Connections that were closed since too many control frames waited.
        counter outbound_control_flood,
        /// Control frames that wait.
        gauge outbound_control_frames_active,
        /// Connections that were closed since too many frames waited.
        counter outbound_flood,
        /// Frames that wait.
        gauge outbound_frames_active,
        /// Bytes of streams that wait for a window.
        gauge pending_send_bytes,
        /// Requests that were refused for an underscore in a header's name.
        counter requests_rejected_with_underscores_in_headers,
        /// Messages that are none (RFC 9113, 8.1.1).
        counter rx_messaging_error,
        /// RST_STREAM frames received.
        counter rx_reset,
        /// Streams that were refused.
        counter stream_refused_errors,
        /// Streams that are open.
        gauge streams_active,
        /// Trailers received from clients.
        counter trailers,
        /// Streams that were reset since nobody took their data.
        counter tx_flush_timeout,
        /// RST_STREAM frames sent.
        counter tx_reset,
    }
}

/// The codec stats of a cluster. As in Envoy, those of a protocol exist from the first connection that speaks it.
#[derive(Debug)]
pub struct ClusterCodecStats {
    scope: Scope,
    http1: OnceLock<Http1CodecStats>,
    http2: OnceLock<Http2CodecStats>,
}

impl ClusterCodecStats {
    /// Those of a cluster, shared by its connections.
    pub fn of(cluster: &ClusterInfo) -> Arc<Self> {
        cluster.kept.get_or_insert_with(|| Self {
            scope: cluster.scope.clone(),
            http1: OnceLock::new(),
            http2: OnceLock::new(),
        })
    }

    /// Of HTTP/1.
    pub fn http1(&self) -> &Http1CodecStats {
        self.http1.get_or_init(|| Http1CodecStats::new(&self.scope.scope("http1")))
    }

    /// Of HTTP/2.
    pub fn http2(&self) -> &Http2CodecStats {
        self.http2.get_or_init(|| Http2CodecStats::new(&self.scope.scope("http2")))
    }
}
