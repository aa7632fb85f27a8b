//! The ways that a request can take: through a connection manager alone, or through a tunnel between two of them.

use serde_json::{Value, json};

use crate::{
    Proxy, Start, With,
    config::{bootstrap, cluster, internal, internal_listener, listener, log_to, port, tcp_proxy},
    http_config::{accepts_connect, connect_route, hcm, post_route, route, speaks_http2, tunneling},
};

/// A way from a client to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One connection manager.
    Direct,
    /// Encapsulated in an HTTP/1.1 CONNECT, decapsulated by the next proxy.
    Http1Connect,
    /// The same with an HTTP/2 CONNECT.
    Http2Connect,
    /// The same with an HTTP/2 POST.
    Http2Post,
}

impl Way {
    /// All ways through a tunnel.
    pub const TUNNELS: [Self; 3] = [Self::Http1Connect, Self::Http2Connect, Self::Http2Post];
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Http1Connect, Self::Http2Connect, Self::Http2Post];
}

/// What may be changed about a [`Tunnel`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether inner requests travel as HTTP/2, from the first connection manager to the origin.
    pub http2: bool,
    /// More fields of the first connection manager.
    pub entry: Value,
    /// More fields of the TCP proxy that opens tunnels.
    pub encap: Value,
    /// More fields of the connection manager that ends tunnels.
    pub terminate: Value,
    /// More fields of the connection manager that serves what comes out of them.
    pub decap: Value,
    /// Arguments for the binaries.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let none = || json!({});
        let arguments = Vec::new();
        Self { http2: false, entry: none(), encap: none(), terminate: none(), decap: none(), arguments }
    }
}

/// One or two proxies in front of an origin. Requests go to the listener `entry` of the first.
///
/// `entry` (connection manager) → `encap` (internal, TCP proxy that tunnels) → the second proxy: `terminate` (connection
/// manager that ends tunnels) → `decap` (internal, connection manager) → the cluster `up`.
#[derive(Debug)]
pub struct Tunnel {
    /// The proxy that clients talk to.
    pub left: Proxy,
    /// The one behind the tunnel, if there is a tunnel.
    pub right: Option<Proxy>,
}

impl Tunnel {
    /// Starts a way with the binary under test on both sides.
    #[track_caller]
    pub fn start(way: Way, origin_port: u16) -> Self {
        Self::start_with(way, origin_port, &Options::default())
    }

    /// The same with options.
    #[track_caller]
    pub fn start_with(way: Way, origin_port: u16, options: &Options) -> Self {
        let start = |config: Value| Start::new(config).arguments(options.arguments.clone()).start();
        let up = inner(cluster("up", [port(origin_port)]), options);
        if way == Way::Direct {
            let entry = hcm("entry", [route("/", "up")]).with(options.entry.clone());
            return Self { left: start(bootstrap([listener("entry", [entry])], [up])), right: None };
        }
        let end = if way == Way::Http2Post { post_route("decap") } else { connect_route("decap") };
        let terminate = hcm("terminate", [end]).with(accepts_connect()).with(options.terminate.clone());
        let decap = hcm("decap", [route("/", "up")]).with(options.decap.clone());
        let right = start(bootstrap(
            [listener("terminate", [terminate]), internal_listener("decap", [decap])],
            [cluster("decap", [internal("decap")]), up],
        ));
        let entry = hcm("entry", [route("/", "to_encap")]).with(options.entry.clone());
        let post = if way == Way::Http2Post { json!({ "use_post": true }) } else { json!({}) };
        let line = "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %BYTES_RECEIVED% %BYTES_SENT%";
        let encap = tcp_proxy("encap", "proxy")
            .with(tunneling("host.example:443", post))
            .with(log_to("encap.log", line))
            .with(options.encap.clone());
        let proxy = cluster("proxy", [port(right.listener("terminate").port())]);
        let proxy = if way == Way::Http1Connect { proxy } else { proxy.with(speaks_http2()) };
        let left = start(bootstrap(
            [listener("entry", [entry]), internal_listener("encap", [encap])],
            [inner(cluster("to_encap", [internal("encap")]), options), proxy],
        ));
        Self { left, right: Some(right) }
    }

    /// Where requests go.
    #[track_caller]
    pub fn entry(&self) -> std::net::SocketAddr {
        self.left.listener("entry")
    }

    /// The proxies on the way.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        [Some(&self.left), self.right.as_ref()].into_iter().flatten()
    }

    /// Waits until no request is open on any proxy; pooled connections and the tunnels that they are may stay.
    #[track_caller]
    pub fn wait_quiet(&self) {
        for proxy in self.proxies() {
            proxy.admin().wait_requests_done();
        }
    }
}

/// A cluster that inner requests go to.
fn inner(cluster: Value, options: &Options) -> Value {
    if options.http2 { cluster.with(speaks_http2()) } else { cluster }
}

/// What a connection manager needs to let `WebSocket` connections through.
pub fn accepts_websocket() -> Value {
    json!({ "upgrade_configs": [{ "upgrade_type": "websocket" }] })
}
