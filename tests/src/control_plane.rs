//! A real gRPC control plane: `tests/control_plane/control_plane.py`, on the official messages.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::{Value, json};

use crate::{PATIENCE, config::extension};

/// The message names of what is served.
pub const LISTENER: &str = "envoy.config.listener.v3.Listener";
/// See [`LISTENER`].
pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
/// See [`LISTENER`].
pub const ENDPOINTS: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
/// See [`LISTENER`].
pub const ROUTES: &str = "envoy.config.route.v3.RouteConfiguration";

/// A running control plane. It ends when it is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    child: Child,
    commands: ChildStdin,
    events: Receiver<Value>,
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
        let mut plane = Self { child, commands, events, port, answered: HashMap::new() };
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
            let event = self.events.recv_timeout(PATIENCE);
            let event = event.unwrap_or_else(|error| panic!("no {kind}: {error}"));
            if event.get(kind).is_some() {
                return event;
            }
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

/// `CONTROL_PLANE_PYTHON`, or what `.ci/run` installs.
fn python() -> PathBuf {
    let installed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/venv/bin/python3");
    std::env::var_os("CONTROL_PLANE_PYTHON").map_or_else(installed, PathBuf::from)
}

/// The cluster of a control plane, and `ads_config` for it; to be laid over a bootstrap.
pub fn ads(port: u16, api_type: &str) -> (Value, Value) {
    let http2 = extension(
        "upstreams.http.v3.HttpProtocolOptions",
        json!({ "explicit_http_config": { "http2_protocol_options": {} } }),
    );
    let cluster = json!({
        "name": "control_plane",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2["typed_config"],
        },
        "load_assignment": { "cluster_name": "control_plane", "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": crate::config::address("127.0.0.1", port) } }] }] },
    });
    let back_off = json!({ "base_interval": "0.05s", "max_interval": "0.2s" });
    let service = json!({ "envoy_grpc": {
        "cluster_name": "control_plane", "retry_policy": { "retry_back_off": back_off } } });
    let source = json!({
        "api_type": api_type, "transport_api_version": "V3", "grpc_services": [service],
        "set_node_on_first_message_only": true,
    });
    let resources = json!({
        "ads_config": source,
        "lds_config": { "ads": {}, "resource_api_version": "V3" },
    });
    (cluster, resources)
}
