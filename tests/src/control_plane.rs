//! A real gRPC control plane: `tests/control_plane/control_plane.py`, on the official messages.

#![expect(clippy::needless_pass_by_value, reason = "callers make the values in place")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    PATIENCE, Proxy,
    config::{With as _, extension},
    resources::routes_saying,
};

/// How long a proxy that has nothing more to say is listened to.
const QUIET: Duration = Duration::from_millis(1500);

/// A running control plane. It ends when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    child: Child,
    commands: ChildStdin,
    events: Receiver<Value>,
    history: Vec<Value>,
    port: u16,
    /// The last nonce that was answered, by type.
    answered: HashMap<String, String>,
}

impl ControlPlane {
    /// Starts one that has nothing to say yet.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_at(0)
    }

    /// The same at a port, where one was before.
    #[track_caller]
    pub fn start_at(port: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("control_plane/control_plane.py");
        let mut child = Command::new(python())
            .arg(script)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a Python with grpcio and xds-protos (see CONTRIBUTING.md)");
        let commands = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, events) = channel();
        thread::spawn(move || {
            let events = output.lines().map_while(Result::ok);
            // Nobody listens any more when the test is over.
            for event in events.filter_map(|line| serde_json::from_str(&line).ok()) {
                let _ = sender.send(event);
            }
        });
        let mut plane = Self { child, commands, events, history: Vec::new(), port, answered: HashMap::new() };
        let listening = plane.wait("listening");
        plane.port = listening["listening"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        plane
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Gives a command; the script says which there are.
    #[track_caller]
    pub fn command(&mut self, command: &Value) {
        writeln!(self.commands, "{command}").expect("the control plane runs");
    }

    /// Sets all resources of a type.
    #[track_caller]
    pub fn set(&mut self, resource_type: &str, version: &str, resources: &[Value]) {
        self.command(&json!({ "set": resource_type, "version": version, "resources": resources }));
    }

    /// The next event of a kind; others are passed over.
    #[track_caller]
    pub fn wait(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event(kind);
            if event.get(kind).is_some() {
                return event;
            }
        }
    }

    #[track_caller]
    fn event(&mut self, awaited: &str) -> Value {
        let event = self.events.recv_timeout(PATIENCE);
        let event = event.unwrap_or_else(|error| panic!("no {awaited}: {error}"));
        self.history.push(event.clone());
        event
    }

    /// All that has happened so far, as far as somebody waited for it.
    pub fn history(&self) -> &[Value] {
        &self.history
    }

    /// The request that answers the response with this nonce, be it still to come or long here.
    #[track_caller]
    pub fn answer_to(&mut self, nonce: &str) -> Value {
        let is_it = |event: &Value| event["message"]["response_nonce"] == nonce;
        if let Some(event) = self.history.iter().find(|event| is_it(event)) {
            return event["message"].clone();
        }
        loop {
            let mut event = self.event(&format!("answer to {nonce}"));
            if is_it(&event) {
                return event["message"].take();
            }
        }
    }

    /// Waits until nothing has happened for a while: for whatever nobody waits for by name.
    pub fn wait_quiet(&mut self) {
        while let Ok(event) = self.events.recv_timeout(QUIET) {
            self.history.push(event);
        }
    }

    /// The next request about a type.
    #[track_caller]
    pub fn request(&mut self, resource_type: &str) -> Value {
        loop {
            let mut event = self.wait("request");
            let message = event["message"].take();
            if message["type_url"].as_str().is_some_and(|url| url.ends_with(resource_type)) {
                return message;
            }
        }
    }

    /// The next ACK or NACK about a type.
    #[track_caller]
    pub fn answer(&mut self, resource_type: &str) -> Value {
        loop {
            let request = self.request(resource_type);
            let nonce = request["response_nonce"].as_str().unwrap_or_default().to_owned();
            // Requests between two responses repeat the nonce in the state-of-the-world protocol.
            if !nonce.is_empty() && self.answered.get(resource_type) != Some(&nonce) {
                self.answered.insert(resource_type.to_owned(), nonce);
                return request;
            }
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a control plane can be started. Tests that need one pass on a machine without, and say so; where `CONTROL_PLANE_PYTHON`
/// is set, as in `.ci/run`, they run or fail.
pub fn is_installed() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        let has_packages = || {
            let mut import = Command::new(python());
            import.args(["-c", "import grpc, envoy.service.discovery.v3.ads_pb2"]).stderr(Stdio::null());
            import.status().is_ok_and(|status| status.success())
        };
        let installed = std::env::var_os("CONTROL_PLANE_PYTHON").is_some() || has_packages();
        if !installed {
            eprintln!("no Python with grpcio and xds-protos (see CONTRIBUTING.md): not tested");
        }
        installed
    })
}

/// `CONTROL_PLANE_PYTHON`, or what `.ci/run` installs.
fn python() -> PathBuf {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/venv/bin/python3");
    std::env::var_os("CONTROL_PLANE_PYTHON").map_or_else(installed, PathBuf::from)
}

/// The cluster of a control plane.
pub fn control_plane_cluster(port: u16) -> Value {
    let http2 = extension(
        "upstreams.http.v3.HttpProtocolOptions",
        json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
    );
    json!({
        "name": "control_plane",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2["typed_config"],
        },
        "load_assignment": { "cluster_name": "control_plane", "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": crate::config::address("127.0.0.1", port) } }] }] },
    })
}

/// An `ApiConfigSource` that asks it; `api_type` is `GRPC` or `DELTA_GRPC`.
pub fn api(api_type: &str) -> Value {
    let back_off = json!({ "base_interval": "0.05s", "max_interval": "0.2s" });
    let service = json!({ "envoy_grpc": {
        "cluster_name": "control_plane", "retry_policy": { "retry_back_off": back_off } } });
    json!({
        "api_type": api_type, "transport_api_version": "V3", "grpc_services": [service],
        "set_node_on_first_message_only": true,
    })
}

/// The source that means a stream of its own.
pub fn own_stream(api_type: &str) -> Value {
    json!({ "api_config_source": api(api_type), "resource_api_version": "V3" })
}

/// The source that means the stream of all.
pub fn aggregated() -> Value {
    json!({ "ads": {}, "resource_api_version": "V3" })
}

/// The cluster of a control plane, and `ads_config` for it; to be laid over a bootstrap.
pub fn ads(port: u16, api_type: &str) -> (Value, Value) {
    let resources = json!({ "ads_config": api(api_type), "lds_config": aggregated() });
    (control_plane_cluster(port), resources)
}

/// A bootstrap without anything but the way to a control plane, which has listeners and clusters.
pub fn steered(plane: &ControlPlane, resources: Value) -> Value {
    let config = crate::config::bootstrap([], [control_plane_cluster(plane.port())]);
    config.with(json!({ "node": { "id": "me", "cluster": "us" }, "dynamic_resources": resources }))
}

/// Everything over ADS.
pub fn all_aggregated(api_type: &str) -> Value {
    json!({ "ads_config": api(api_type), "lds_config": aggregated(), "cds_config": aggregated() })
}

/// The internal listener `inner`, which answers HTTP requests with a text.
pub fn saying(text: &str) -> Value {
    let manager = extension(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "inner", "route_config": routes_saying("inner", text),
            "http_filters": [crate::http_config::router()],
        }),
    );
    crate::config::internal_listener("inner", [manager])
}

/// What a chain of listeners from `outer` to [`inner`](saying) says; nothing, if it is broken somewhere.
#[track_caller]
pub fn heard(proxy: &Proxy) -> String {
    let mut stream = proxy.connect("outer");
    let mut said = String::new();
    // However a broken chain ends, it says nothing.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: inner\r\nconnection: close\r\n\r\n");
    let _ = stream.read_to_string(&mut said);
    said.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
