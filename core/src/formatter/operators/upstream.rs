//! The upstream host, its cluster, and the connection to it.

use std::fmt::{self, Display};
use std::num::NonZeroU64;
use std::sync::Arc;

use super::address::{endpoint_id, mask, port, whole, without_port};
use super::stream::{close_type, some_text, without_spaces};
use crate::address::Address;
use crate::cluster::Host;
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::plain("UPSTREAM_HOST", |cx, out| with_host(cx, |host| whole(&host.address, out))),
    OperatorEntry::plain("UPSTREAM_HOST_NAME", |cx, out| {
        with_host(cx, |host| out.display(HostName { host, with_port: true }));
    }),
    OperatorEntry::plain("UPSTREAM_HOST_NAME_WITHOUT_PORT", |cx, out| {
        with_host(cx, |host| out.display(HostName { host, with_port: false }));
    }),
    OperatorEntry::plain("UPSTREAM_HOSTS_ATTEMPTED", |cx, out| {
        attempted(cx, out, |host, f| host.address.fmt(f));
    }),
    OperatorEntry::plain("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", |cx, out| {
        attempted(cx, out, |host, f| f.write_str(&host.address.without_port()));
    }),
    OperatorEntry::plain("UPSTREAM_HOST_NAMES_ATTEMPTED", |cx, out| {
        attempted(cx, out, |host, f| HostName { host, with_port: true }.fmt(f));
    }),
    OperatorEntry::plain("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", |cx, out| {
        attempted(cx, out, |host, f| HostName { host, with_port: false }.fmt(f));
    }),
    OperatorEntry::plain("UPSTREAM_CLUSTER", |cx, out| {
        let cluster = cx.info.upstream.cluster.borrow();
        some_text(cluster.as_ref().map(|cluster| &*cluster.observability_name), out);
    }),
    OperatorEntry::plain("UPSTREAM_CLUSTER_RAW", |cx, out| {
        let cluster = cx.info.upstream.cluster.borrow();
        some_text(cluster.as_ref().map(|cluster| &*cluster.name), out);
    }),
    OperatorEntry::plain("UPSTREAM_LOCAL_ADDRESS", |cx, out| local(cx, |address| whole(address, out))),
    OperatorEntry::with_optional("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", local_without_port),
    OperatorEntry::plain("UPSTREAM_LOCAL_PORT", |cx, out| local(cx, |address| port(address, out))),
    OperatorEntry::plain("UPSTREAM_REMOTE_ADDRESS", |cx, out| remote(cx, |address| whole(address, out))),
    OperatorEntry::with_optional("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", remote_without_port),
    OperatorEntry::plain("UPSTREAM_REMOTE_PORT", |cx, out| remote(cx, |address| port(address, out))),
    OperatorEntry::plain("UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", |cx, out| {
        remote(cx, |address| endpoint_id(address, out));
    }),
    OperatorEntry::plain("UPSTREAM_CONNECTION_ID", |cx, out| {
        out.number(cx.info.upstream.connection_id.get().map_or(0, NonZeroU64::get));
    }),
    OperatorEntry::plain("UPSTREAM_CONNECTION_IDS_ATTEMPTED", |cx, out| {
        cx.info.upstream.with_connection_ids_attempted(|ids| {
            if !ids.is_empty() {
                out.display(Joined(ids, |id: &u64, f: &mut fmt::Formatter<'_>| id.fmt(f)));
            }
        });
    }),
    OperatorEntry::plain("UPSTREAM_REQUEST_ATTEMPT_COUNT", |cx, out| {
        out.number(cx.info.upstream.attempts.get());
    }),
    OperatorEntry::plain("UPSTREAM_TRANSPORT_FAILURE_REASON", |cx, out| {
        without_spaces(cx.info.upstream.details.transport_failure_reason.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("UPSTREAM_LOCAL_CLOSE_REASON", |cx, out| {
        some_text(cx.info.upstream.details.local_close_reason.borrow().as_deref(), out);
    }),
    OperatorEntry::plain("UPSTREAM_DETECTED_CLOSE_TYPE", |cx, out| {
        out.text(close_type(cx.info.upstream.detected_close.get()));
    }),
    OperatorEntry::plain("UPSTREAM_PROTOCOL", |cx, out| {
        some_text(cx.info.upstream.details.protocol.get(), out);
    }),
    OperatorEntry::plain("UPSTREAM_WIRE_BYTES_SENT", |cx, out| {
        out.number(cx.info.upstream.wire_bytes_sent.get());
    }),
    OperatorEntry::plain("UPSTREAM_WIRE_BYTES_RECEIVED", |cx, out| {
        out.number(cx.info.upstream.wire_bytes_received.get());
    }),
];

fn with_host(cx: &FormatContext<'_>, print: impl FnOnce(&Host)) {
    if let Some(host) = &*cx.info.upstream.host.borrow() {
        print(host);
    }
}

fn local(cx: &FormatContext<'_>, print: impl FnOnce(&Address)) {
    if let Some(address) = cx.info.upstream.local_address.get() {
        print(&address);
    }
}

fn remote(cx: &FormatContext<'_>, print: impl FnOnce(&Address)) {
    if let Some(address) = cx.info.upstream.remote_address.get() {
        print(&address);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn local_without_port(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let mask = mask(command);
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        local(cx, |address| without_port(address, mask, out));
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn remote_without_port(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let mask = mask(command);
    Ok(Box::new(move |cx: &FormatContext<'_>, out: &mut Output<'_>| {
        remote(cx, |address| without_port(address, mask, out));
    }))
}

/// A host's name, or else its address.
struct HostName<'a> {
    host: &'a Host,
    with_port: bool,
}

impl Display for HostName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.host.hostname, self.with_port) {
            ("", true) => self.host.address.fmt(f),
            ("", false) => f.write_str(strip_port(&self.host.address.to_string())),
            (name, true) => f.write_str(name),
            (name, false) => f.write_str(strip_port(name)),
        }
    }
}

/// `name:80` without `:80`; IPv6 addresses keep their brackets.
fn strip_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        // Envoy takes the whole rest of an internal address for its port.
        Some((scheme @ "envoy", _)) => scheme,
        _ => host,
    }
}

/// How one item of a list is printed.
type PrintItem<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// Prints the hosts that were tried, one after the other.
fn attempted(cx: &FormatContext<'_>, out: &mut Output<'_>, print: PrintItem<Arc<Host>>) {
    cx.info.upstream.with_hosts_attempted(|hosts| {
        if !hosts.is_empty() {
            out.display(Joined(hosts, print));
        }
    });
}

/// A list, separated by commas.
struct Joined<'a, T>(&'a [T], PrintItem<T>);

impl<T> Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            (self.1)(item, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::strip_port;

    #[test]
    fn ports_are_stripped_from_names_and_addresses() {
        for (host, expected) in [
            ("a.example:80", "a.example"),
            ("a.example", "a.example"),
            ("[::1]:80", "[::1]"),
            ("::1", "::1"),
            ("envoy://inner/ep1", "envoy"),
            ("/run/x.sock", "/run/x.sock"),
        ] {
            assert_eq!(strip_port(host), expected);
        }
    }
}
