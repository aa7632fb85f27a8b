//! What is known of a stream as a whole: bytes, flags, how it ended, names.

use std::borrow::Cow;

use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};
use crate::stream_info::DetectedClose;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::plain("ACCESS_LOG_TYPE", |cx, out| out.text(cx.access_log_type.name())),
    OperatorEntry::plain("BYTES_RECEIVED", |cx, out| out.number(cx.info.bytes_received.get())),
    OperatorEntry::plain("BYTES_SENT", |cx, out| out.number(cx.info.bytes_sent.get())),
    // Below a transport without framing, the wire carries the payload; a request has its headers as well.
    OperatorEntry::plain("DOWNSTREAM_WIRE_BYTES_RECEIVED", |cx, out| {
        out.number(cx.info.bytes_received.get() + cx.info.details.header_bytes.0.get());
    }),
    OperatorEntry::plain("DOWNSTREAM_WIRE_BYTES_SENT", |cx, out| {
        out.number(cx.info.bytes_sent.get() + cx.info.details.header_bytes.1.get());
    }),
    // Envoy counts these for QUIC only.
    OperatorEntry::plain("BYTES_RETRANSMITTED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("PACKETS_RETRANSMITTED", |_, out| out.number(0_u64)),
    OperatorEntry::plain("DOWNSTREAM_CX_RTT", |_, out| out.number(0_u64)),
    OperatorEntry::plain("CONNECTION_ID", |cx, out| out.number(cx.info.connection_id)),
    OperatorEntry::plain("RESPONSE_FLAGS", |cx, out| out.display(cx.info.flags.get())),
    OperatorEntry::plain("RESPONSE_FLAGS_LONG", |cx, out| out.text(&cx.info.flags.get().long())),
    OperatorEntry::plain("RESPONSE_CODE", |cx, out| out.number(cx.info.response_code.get().unwrap_or(0))),
    OperatorEntry::with_optional("RESPONSE_CODE_DETAILS", response_code_details),
    OperatorEntry::plain("CONNECTION_TERMINATION_DETAILS", |cx, out| {
        some_text(cx.info.details.connection_termination_details.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("DOWNSTREAM_TRANSPORT_FAILURE_REASON", |cx, out| {
        without_spaces(cx.info.details.downstream_transport_failure_reason.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("DOWNSTREAM_LOCAL_CLOSE_REASON", |cx, out| {
        some_text(cx.info.details.downstream_local_close_reason.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("DOWNSTREAM_DETECTED_CLOSE_TYPE", |cx, out| {
        out.text(close_type(cx.info.downstream_detected_close.get()));
    }),
    // Nothing sets flags of its own making here.
    OperatorEntry::plain("CUSTOM_FLAGS", |_, out| out.text("")),
    OperatorEntry::plain("PROTOCOL", |cx, out| some_text(cx.info.details.protocol.get(), out)),
    OperatorEntry::plain("LISTENER_NAME", |cx, out| some_text(Some(&cx.info.listener.name), out)),
    OperatorEntry::plain("FILTER_CHAIN_NAME", |cx, out| {
        some_text(cx.info.filter_chain_name.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("ROUTE_NAME", |cx, out| {
        some_text(cx.info.details.route_name.borrow().as_deref(), out);
    }),
    OperatorEntry::with_optional("REQUESTED_SERVER_NAME", requested_server_name),
];

/// Prints a text that is there and not empty.
pub(super) fn some_text(text: Option<&str>, out: &mut Output<'_>) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.text(text);
    }
}

/// Prints a reason as one word, so that logs can be split at spaces.
pub(super) fn without_spaces(text: Option<&str>, out: &mut Output<'_>) {
    match text {
        Some(text) if text.contains(' ') => out.text(&text.replace(' ', "_")),
        text => some_text(text, out),
    }
}

pub(super) fn close_type(close: DetectedClose) -> &'static str {
    match close {
        DetectedClose::Normal => "Normal",
        DetectedClose::LocalReset => "LocalReset",
        DetectedClose::RemoteReset => "RemoteReset",
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn response_code_details(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let keep_spaces = command.argument == "ALLOW_WHITESPACES";
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        match cx.info.details.response_code_details.borrow().as_deref() {
            Some(details) if !keep_spaces && details.contains(char::is_whitespace) => {
                out.text(&details.replace(char::is_whitespace, "_"));
            }
            details => some_text(details, out),
        }
    }))
}

/// Which name comes first, and which headers hold the host.
#[derive(Clone, Copy)]
struct ServerName {
    host_first: bool,
    or_host: bool,
    host_headers: &'static [&'static str],
}

fn requested_server_name(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let (order, host) = command.argument.split_once(':').unwrap_or((command.argument, ""));
    let (host_first, or_host) = match order {
        "" | "SNI_ONLY" => (false, false),
        "SNI_FIRST" => (false, true),
        "HOST_FIRST" => (true, true),
        _ => {
            return Err(format!(
                "Invalid REQUESTED_SERVER_NAME option: '{order}', only 'SNI_ONLY'/'SNI_FIRST'/'HOST_FIRST' are allowed"
            ));
        }
    };
    let host_headers: &[_] = match host {
        "" | "ORIG_OR_HOST" => &["x-envoy-original-host", ":authority"],
        "ORIG" => &["x-envoy-original-host"],
        "HOST" => &[":authority"],
        _ => {
            return Err(format!(
                "Invalid REQUESTED_SERVER_NAME option: '{host}', only 'ORIG_OR_HOST'/'HOST'/'ORIG' are allowed"
            ));
        }
    };
    Ok(Box::new(ServerName { host_first, or_host, host_headers }))
}

impl Operator for ServerName {
    fn print(&self, cx: &FormatContext<'_>, out: &mut Output<'_>) {
        let host = cx.headers.filter(|_| self.or_host).and_then(|headers| {
            self.host_headers.iter().find_map(|name| headers.request(name)).filter(|host| !host.is_empty())
        });
        let sni = cx.info.details.requested_server_name.borrow();
        let sni = sni.as_deref().filter(|name| !name.is_empty());
        match (sni, host) {
            (_, Some(host)) if self.host_first || sni.is_none() => out.text(host),
            (Some(sni), _) => out.text(&as_host_name(sni)),
            _ => {}
        }
    }
}

/// The name, which comes from the client and goes into logs. One that has what no host name has is marked, and that is
/// replaced; the rule was found out by trying names on Envoy 1.40.
fn as_host_name(name: &str) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.chars().all(fits) {
        return name.into();
    }
    let replaced = name.chars().map(|c| if fits(c) { c } else { '_' });
    "invalid:".chars().chain(replaced).collect()
}
