//! What the codec tells of an exchange, and what is counted and logged of it.

use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, header};
use underpass_core::{access_log::AccessLogType, connection::BoxFuture, response_flags::ResponseFlag};
use underpass_http::{
    Body, RequestHead, Response,
    downstream::{self, DownstreamReset, Refusal},
};

use super::Exchange;
use crate::{reply, stats::count_answer};

impl downstream::Exchange for Exchange {
    fn serve(&self, head: RequestHead, body: Body) -> BoxFuture<'_, Response> {
        Box::pin(self.run(head, body))
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        let Refusal { status, details } = refusal;
        let settings = &self.connection.settings;
        self.set_details(details);
        self.info.response_code.set(Some(status.as_u16()));
        let mut response = if details == PATH_NORMALIZATION_FAILED {
            settings.stats.downstream_rq_failed_path_normalization.inc();
            self.plain(status, "")
        } else {
            settings.stats.downstream_cx_protocol_error.inc();
            self.info.set_flag(ResponseFlag::DownstreamProtocolError);
            self.plain(status, reply::refusal_text(status))
        };
        self.dress(response.headers_mut(), false, None);
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        self.response_starts(&response);
        response
    }

    fn last_request(&self) {
        self.update(|state| state.last_request = true);
    }

    fn continued(&self) {
        let settings = &self.connection.settings;
        self.info.response_code.set(Some(100));
        count_answer(&settings.stats, &settings.listener_stats, 100);
    }

    fn head_received(&self, bytes: usize) {
        self.info.details.header_bytes.0.set(bytes as u64);
    }

    fn data_received(&self, bytes: usize) {
        self.info.bytes_received.set(self.info.bytes_received.get() + bytes as u64);
        self.touch();
    }

    fn request_complete(&self) {
        if self.state.get().request_complete {
            return;
        }
        self.update(|state| state.request_complete = true);
        self.info.details.last_byte_received.set(Some(std::time::Instant::now()));
    }

    fn head_sent(&self, bytes: usize) {
        self.info.details.header_bytes.1.set(bytes as u64);
        self.info.details.first_byte_sent.set(Some(std::time::Instant::now()));
        if self.is_tunnel.get()
            && self.connection.settings.log_options.flush_log_on_tunnel_successfully_established
        {
            self.log(AccessLogType::DownstreamTunnelSuccessfullyEstablished);
        }
    }

    fn data_sent(&self, bytes: usize) {
        self.info.bytes_sent.set(self.info.bytes_sent.get() + bytes as u64);
        self.touch();
    }

    fn trailers_sent(&self, trailers: &HeaderMap) {
        if !self.connection.settings.logs.is_empty() {
            self.answer.borrow_mut().trailers = Some(trailers.clone());
        }
    }

    fn response_complete(&self) {
        self.update(|state| state.response_complete = true);
        self.info.details.last_byte_sent.set(Some(std::time::Instant::now()));
        if !self.state.get().request_complete {
            // What is still to come of the request is reset.
            let settings = &self.connection.settings;
            settings.stats.downstream_rq_rx_reset.inc();
            if self.connection.is_http2() && !self.is_tunnel.get() {
                settings.codec.stats.http2.tx_reset.inc();
            }
        }
        let flags = self.info.flags.get();
        if self.is_upgrade.get() && flags.contains(ResponseFlag::DownstreamConnectionTermination) {
            // Its tunnel has found out.
            self.connection.client_closed();
        }
        if self.is_upgrade.get() && flags.contains(ResponseFlag::DownstreamRemoteReset) {
            self.connection.settings.codec.stats.http2.rx_reset.inc();
        }
    }

    fn reset(&self, reason: DownstreamReset) {
        if self.state.get().reset || self.state.get().response_complete {
            return;
        }
        self.update(|state| state.reset = true);
        let stats = &self.connection.settings.stats;
        stats.downstream_rq_rx_reset.inc();
        match reason {
            DownstreamReset::Disconnected => {
                self.info.set_flag(ResponseFlag::DownstreamConnectionTermination);
                self.set_details("downstream_remote_disconnect");
            }
            DownstreamReset::StreamReset => {
                self.info.set_flag(ResponseFlag::DownstreamRemoteReset);
                self.set_details("http2.remote_reset");
            }
            DownstreamReset::ProtocolError(details) => {
                stats.downstream_cx_protocol_error.inc();
                self.info.set_flag(ResponseFlag::DownstreamProtocolError);
                self.set_details(details);
            }
            DownstreamReset::Refused(details) => {
                self.info.set_flag(ResponseFlag::DownstreamRemoteReset);
                self.set_details(details);
            }
            DownstreamReset::Local => stats.downstream_rq_tx_reset.inc(),
        }
    }

    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        self.poll_time_up(cx).map(|what| {
            let (status, text, details) = self.time_is_up(what);
            self.set_details(details);
            if self.state.get().response_started {
                return None;
            }
            self.info.response_code.set(Some(status.as_u16()));
            let mut response = self.plain(status, text);
            self.dress(response.headers_mut(), false, None);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            self.response_starts(&response);
            Some(response)
        })
    }
}

/// The details of a path that cannot be put in order.
const PATH_NORMALIZATION_FAILED: &str = "path_normalization_failed";

impl Drop for Exchange {
    fn drop(&mut self) {
        let state = self.state.get();
        let stats = &self.connection.settings.stats;
        if !state.response_complete && !state.reset {
            // The connection's future was dropped: this proxy ends it.
            self.info.set_flag(ResponseFlag::DownstreamConnectionTermination);
            self.set_details("downstream_local_disconnect");
            stats.downstream_rq_rx_reset.inc();
            self.connection.dropped_with_request();
        }
        stats.downstream_rq_active.dec();
        if self.is_upgrade.get() {
            stats.downstream_cx_upgrades_active.dec();
        }
        if self.connection.is_http2() {
            let soon = self.started.elapsed() <= self.connection.settings.premature_lifetime;
            self.connection.count_end(soon && state.reset && !state.response_started);
        }
        self.info.complete();
        let took = self.info.duration().as_millis();
        stats.downstream_rq_time.record(u64::try_from(took).unwrap_or(u64::MAX));
        if let Some(stream) = self.stream().filter(|_| !self.connection.settings.logs.is_empty()) {
            stream.note_cluster();
        }
        self.log(AccessLogType::DownstreamEnd);
        self.connection.leave(self.key.get());
    }
}
