//! Small builders for configurations, so that a test shows only what it is about.
//!
//! A builder returns the JSON of a message; [`With::with`] adds or replaces fields. A configuration is JSON, YAML text or
//! a [`Chain`]; all become a [`Config`].

#![expect(clippy::needless_pass_by_value, reason = "callers make the values in place")]

use serde_json::{Map, Value, json};

use crate::Origin;

/// The text of a configuration, as it is written to a file. `DIR/` in it stands for the proxy's directory.
#[derive(Debug, Clone)]
pub struct Config(pub String);

impl From<&str> for Config {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Config {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<Value> for Config {
    fn from(value: Value) -> Self {
        Self(value.to_string())
    }
}

/// Adds fields to a message.
pub trait With: Sized {
    /// Adds or replaces fields; those of an extension go where its own fields are, into `typed_config`.
    #[must_use]
    fn with(self, fields: Value) -> Self;
}

impl With for Value {
    fn with(mut self, fields: Value) -> Self {
        let message = if self.get("typed_config").is_some() { &mut self["typed_config"] } else { &mut self };
        let (Value::Object(message), Value::Object(fields)) = (message, fields) else {
            panic!("only messages have fields");
        };
        message.extend(fields);
        self
    }
}

/// A complete configuration with the bootstrap extension that internal listeners need.
pub fn bootstrap<L, C>(listeners: L, clusters: C) -> Value
where
    L: IntoIterator<Item = Value>,
    C: IntoIterator<Item = Value>,
{
    let listeners: Vec<Value> = listeners.into_iter().collect();
    let clusters: Vec<Value> = clusters.into_iter().collect();
    json!({
        "static_resources": { "listeners": listeners, "clusters": clusters },
        "bootstrap_extensions": [extension("bootstrap.internal_listener.v3.InternalListener", json!({}))],
    })
}

/// Something that is configured by its type, `envoy.extensions.` left out.
pub fn extension(kind: &str, fields: Value) -> Value {
    let mut config = Map::new();
    config.insert("@type".into(), format!("type.googleapis.com/envoy.extensions.{kind}").into());
    json!({ "name": kind, "typed_config": config }).with(fields)
}

/// A TCP listener on a port of the kernel's choice.
pub fn listener(name: &str, filters: impl IntoIterator<Item = Value>) -> Value {
    listener_at(name, address("127.0.0.1", 0), filters)
}

/// A listener on an address.
pub fn listener_at(name: &str, address: Value, filters: impl IntoIterator<Item = Value>) -> Value {
    json!({ "name": name, "address": address, "filter_chains": [chain(filters)] })
}

/// An internal listener.
pub fn internal_listener(name: &str, filters: impl IntoIterator<Item = Value>) -> Value {
    json!({ "name": name, "internal_listener": {}, "filter_chains": [chain(filters)] })
}

/// A filter chain.
pub fn chain(filters: impl IntoIterator<Item = Value>) -> Value {
    json!({ "filters": filters.into_iter().collect::<Vec<_>>() })
}

/// A filter chain for connections that match.
pub fn matching(filter_chain_match: Value, filters: impl IntoIterator<Item = Value>) -> Value {
    chain(filters).with(json!({ "filter_chain_match": filter_chain_match }))
}

/// A listener filter.
pub fn listener_filter(kind: &str) -> Value {
    extension(&format!("filters.listener.{kind}"), json!({}))
}

/// A socket address.
pub fn address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// A unix domain socket.
pub fn pipe(path: &str) -> Value {
    json!({ "pipe": { "path": path } })
}

/// A cluster that connects to these endpoints.
pub fn cluster(name: &str, endpoints: impl IntoIterator<Item = Value>) -> Value {
    let endpoints: Vec<_> = endpoints.into_iter().collect();
    json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}

/// An endpoint on 127.0.0.1.
pub fn port(port: u16) -> Value {
    endpoint(address("127.0.0.1", port))
}

/// An endpoint that is an internal listener: `listener` or `listener/endpoint_id`.
pub fn internal(target: &str) -> Value {
    let address = match target.split_once('/') {
        Some((name, id)) => json!({ "server_listener_name": name, "endpoint_id": id }),
        None => json!({ "server_listener_name": target }),
    };
    endpoint(json!({ "envoy_internal_address": address }))
}

/// An endpoint at an address.
pub fn endpoint(address: Value) -> Value {
    json!({ "endpoint": { "address": address } })
}

/// Metadata of an endpoint or a cluster.
pub fn metadata(filter_metadata: Value) -> Value {
    json!({ "metadata": { "filter_metadata": filter_metadata } })
}

/// A TCP proxy to a cluster.
pub fn tcp_proxy(prefix: &str, cluster: &str) -> Value {
    extension("filters.network.tcp_proxy.v3.TcpProxy", json!({ "stat_prefix": prefix, "cluster": cluster }))
}

/// A listener in front of the cluster `up`.
pub fn to_up(name: &str) -> Value {
    listener(name, [tcp_proxy(name, "up")])
}

/// A configuration with these listeners and the cluster `up`.
pub fn in_front_of(origin: &Origin, listeners: impl IntoIterator<Item = Value>) -> Value {
    bootstrap(listeners, [cluster("up", [port(origin.port())])])
}

/// What a TCP proxy has as `access_log`: a file in the proxy's directory, a line of operators.
pub fn log_to(file: &str, line: &str) -> Value {
    json!({ "access_log": [file_log(file, line)] })
}

/// An access logger that writes to a file in the proxy's directory.
pub fn file_log(file: &str, line: &str) -> Value {
    extension(
        "access_loggers.file.v3.FileAccessLog",
        json!({
            "path": format!("DIR/{file}"),
            "log_format": { "text_format_source": { "inline_string": format!("{line}\n") } },
        }),
    )
}

/// The transport socket that does nothing.
pub fn raw_buffer() -> Value {
    extension("transport_sockets.raw_buffer.v3.RawBuffer", json!({}))
}

/// The transport socket that hands over metadata: pairs of a key and `host` or `cluster`.
pub fn internal_upstream(passthrough: &[(&str, &str)]) -> Value {
    let keys: Vec<_> =
        passthrough.iter().map(|(name, kind)| json!({ "name": name, "kind": { *kind: {} } })).collect();
    extension(
        "transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
        json!({ "transport_socket": raw_buffer(), "passthrough_metadata": keys }),
    )
}

/// A network filter that sets filter state on each new connection.
pub fn set_filter_state(values: impl IntoIterator<Item = Value>) -> Value {
    let values: Vec<_> = values.into_iter().collect();
    extension("filters.network.set_filter_state.v3.Config", json!({ "on_new_connection": values }))
}

/// A value of filter state, made by a factory out of a format; shared `NONE`, `ONCE` or `TRANSITIVE`.
pub fn filter_state(key: &str, factory: &str, format: &str, shared: &str) -> Value {
    json!({
        "object_key": key, "factory_key": factory, "shared_with_upstream": shared,
        "format_string": { "text_format_source": { "inline_string": format } },
    })
}

/// The topology of most tests: TCP listener `outer` → internal listener `inner` → cluster `up`.
///
/// Both proxies log to `outer.log` and `inner.log` how a connection ended, as [`Chain::ENDING`].
#[derive(Debug, Clone)]
pub struct Chain {
    outer: Value,
    inner: Value,
    to_inner: Value,
    up: Value,
    bootstrap: Value,
}

impl Chain {
    /// What the lines of the logs show.
    pub const ENDING: &str = "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%";

    /// The chain in front of an origin.
    pub fn to(origin: &Origin) -> Self {
        Self::to_port(origin.port())
    }

    /// The chain in front of a port of 127.0.0.1.
    pub fn to_port(upstream: u16) -> Self {
        Self {
            outer: tcp_proxy("outer", "to_inner").with(log_to("outer.log", Self::ENDING)),
            inner: tcp_proxy("inner", "up").with(log_to("inner.log", Self::ENDING)),
            to_inner: cluster("to_inner", [internal("inner")]),
            up: cluster("up", [port(upstream)]),
            bootstrap: json!({}),
        }
    }

    /// Fields of the outer TCP proxy.
    #[must_use]
    pub fn outer(self, fields: Value) -> Self {
        Self { outer: self.outer.with(fields), ..self }
    }

    /// Fields of the inner TCP proxy.
    #[must_use]
    pub fn inner(self, fields: Value) -> Self {
        Self { inner: self.inner.with(fields), ..self }
    }

    /// Fields of the cluster of the internal listener.
    #[must_use]
    pub fn to_inner(self, fields: Value) -> Self {
        Self { to_inner: self.to_inner.with(fields), ..self }
    }

    /// Fields of the cluster of the origin.
    #[must_use]
    pub fn up(self, fields: Value) -> Self {
        Self { up: self.up.with(fields), ..self }
    }

    /// Fields of the bootstrap.
    #[must_use]
    pub fn bootstrap(self, fields: Value) -> Self {
        Self { bootstrap: self.bootstrap.with(fields), ..self }
    }
}

impl From<Chain> for Config {
    fn from(it: Chain) -> Self {
        let listeners = [listener("outer", [it.outer]), internal_listener("inner", [it.inner])];
        bootstrap(listeners, [it.to_inner, it.up]).with(it.bootstrap).into()
    }
}

/// A TCP listener `hop0` and internal listeners `hop1`…, one behind the other, in front of the cluster `up`.
///
/// The TCP proxy of each has its name as `stat_prefix`; the cluster towards `hop1` is `to_hop1`.
pub fn hops(count: usize, upstream: u16) -> Value {
    let next = |at: usize| if at < count { format!("to_hop{}", at + 1) } else { "up".to_owned() };
    let proxy = |at: usize| [tcp_proxy(&format!("hop{at}"), &next(at))];
    let internals = (1..=count).map(|at| internal_listener(&format!("hop{at}"), proxy(at)));
    let towards = (1..=count).map(|at| cluster(&format!("to_hop{at}"), [internal(&format!("hop{at}"))]));
    bootstrap(
        std::iter::once(listener("hop0", proxy(0))).chain(internals),
        towards.chain([cluster("up", [port(upstream)])]),
    )
}
