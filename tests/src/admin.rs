//! A client for the admin interface.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::{PATIENCE, eventually, within_patience};

/// The admin interface of a proxy.
#[derive(Debug, Clone, Copy)]
pub struct Admin {
    address: SocketAddr,
}

/// An answer of the admin interface.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The header lines.
    pub head: String,
    /// The body, chunks put together.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }
}

impl Admin {
    /// The admin interface at an address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks, if somebody answers.
    pub fn request(&self, method: &str, path: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { join_chunks(body) } else { body.to_owned() };
        Ok(Answer { status, head: head.to_owned(), body })
    }

    /// Asks, and expects an answer of whatever status.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.request(method, path).expect("the admin interface answers")
    }

    /// GET.
    pub fn get(&self, path: &str) -> String {
        self.ask("GET", path).body
    }

    /// POST.
    pub fn post(&self, path: &str) -> String {
        self.ask("POST", path).body
    }

    /// The JSON that an endpoint shows.
    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path)).expect("the endpoint shows JSON")
    }

    /// All counters and gauges by name.
    pub fn stats(&self) -> BTreeMap<String, u64> {
        let stats = self.get("/stats");
        let parse = |line: &str| {
            line.split_once(": ").and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        };
        stats.lines().filter_map(parse).collect()
    }

    /// A counter or gauge; 0 if it does not exist.
    pub fn stat(&self, name: &str) -> u64 {
        self.stats().get(name).copied().unwrap_or(0)
    }

    /// Waits until a counter or gauge has a value.
    #[track_caller]
    pub fn wait_stat(&self, name: &str, value: u64) {
        eventually(&format!("{name} is {value}"), || self.stat(name) == value);
    }

    /// All counters and gauges of clusters, listeners and TCP proxies that are not zero.
    pub fn moved(&self) -> BTreeMap<String, u64> {
        let mut stats = self.stats();
        stats.retain(|name, value| *value != 0 && of_traffic(name));
        stats
    }

    /// The gauges of what is still open: connections, requests and bytes that wait.
    pub fn open(&self) -> BTreeMap<String, u64> {
        let mut stats = self.moved();
        stats.retain(|name, _| name.ends_with("_active") || name.ends_with("_buffered"));
        stats
    }

    /// Waits until nothing is open any more but pooled connections to upstreams.
    #[track_caller]
    pub fn wait_quiet(&self) {
        self.wait_none(|name| !name.ends_with(".upstream_cx_active") && !name.contains("_bytes_buffered"));
    }

    /// Waits until no stream is open any more; pooled connections may stay.
    #[track_caller]
    pub fn wait_no_streams(&self) {
        let kinds = ["rq_active", "rq_pending_active", "streams_active", "upgrades_active"];
        self.wait_none(|name| kinds.iter().any(|kind| name.ends_with(kind)));
    }

    /// Waits until no request is open but those of tunnels, which stay as long as pooled connections use them.
    #[track_caller]
    pub fn wait_requests_done(&self) {
        let ends =
            ["entry.downstream_rq_active", "decap.downstream_rq_active", "cluster.up.upstream_rq_active"];
        self.wait_none(|name| ends.iter().any(|end| name.ends_with(end)));
    }

    /// Waits until none of these gauges is above zero.
    #[track_caller]
    fn wait_none(&self, counts: impl Fn(&str) -> bool) {
        let mut open = BTreeMap::new();
        let none = within_patience(|| {
            open = self.open();
            open.retain(|name, _| counts(name));
            open.is_empty()
        });
        assert!(none, "not within {PATIENCE:?}: nothing is open, but {open:?}");
    }

    /// Waits until nothing is open any more.
    #[track_caller]
    pub fn wait_idle(&self) {
        eventually("nothing is open", || self.open().is_empty());
    }
}

fn of_traffic(name: &str) -> bool {
    ["cluster.", "http.", "listener.", "tcp."].iter().any(|prefix| name.starts_with(prefix))
        && !name.contains("admin")
}

fn join_chunks(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        out.push_str(rest.get(..size).unwrap_or_default());
        body = rest.get(size + 2..).unwrap_or_default();
    }
    out
}
