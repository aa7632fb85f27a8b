//! Random chains and scripts, run on any binary, and what can be seen of them: to compare two binaries.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    thread,
};

use serde_json::{Value, json};

use crate::{
    Origin, Start, With,
    client::{self, End},
    config::{
        bootstrap, cluster, filter_state, internal, internal_listener, internal_upstream, listener, log_to,
        metadata, port, raw_buffer, set_filter_state, tcp_proxy,
    },
    origin::{dead_port, note},
};

/// A chain of hops, and what its client and its origin do.
#[derive(Debug, Clone)]
pub struct Case {
    hops: usize,
    /// More fields of the TCP proxy of each listener, the outermost first.
    proxies: Vec<Value>,
    /// More fields of each listener.
    listeners: Vec<Value>,
    /// More fields of the cluster of each hop.
    clusters: Vec<Value>,
    /// More fields of the bootstrap extension.
    extension: Value,
    connections: usize,
    client_sends: usize,
    origin_sends: usize,
    script: Script,
}

/// Who ends the connection, and how. Each is chosen so that the outcome does not depend on who is faster.
#[derive(Debug, Clone, Copy)]
enum Script {
    /// The client finishes, the origin answers when it has read everything.
    ClientFinishes,
    /// The origin speaks and finishes, the client sends afterwards and finishes.
    OriginFinishes,
    /// The client gets an answer and closes.
    ClientCloses,
    /// The origin gets everything, answers and closes.
    OriginCloses,
    /// The origin gets everything and resets.
    OriginResets,
    /// The client gets an answer and resets.
    ClientResets,
    /// Nobody listens.
    Refused,
}

const SCRIPTS: [Script; 7] = [
    Script::ClientFinishes,
    Script::OriginFinishes,
    Script::ClientCloses,
    Script::OriginCloses,
    Script::OriginResets,
    Script::ClientResets,
    Script::Refused,
];

/// What can be seen of a case from outside.
#[derive(Debug, PartialEq, Eq)]
pub struct Observed {
    /// What each client received (its length) and how its connection ended.
    pub clients: Vec<(usize, End)>,
    /// What the origin noted.
    pub origin: Vec<String>,
    /// The access log of each listener.
    pub logs: Vec<Vec<String>>,
    /// All counters and gauges of clusters, listeners and TCP proxies that are not zero.
    pub stats: BTreeMap<String, u64>,
    /// How the process ended.
    pub exit: Option<i32>,
}

impl Case {
    /// The case of a seed.
    pub fn random(seed: u64) -> Self {
        let random = &mut fastrand::Rng::with_seed(seed);
        let script = SCRIPTS[random.usize(..SCRIPTS.len())];
        // Which of three and more hops still counts as connected when the last one is refused depends on the order of
        // events within a turn of Envoy's event loop, and changes from one time to the next.
        let hops = random.usize(1..=if matches!(script, Script::Refused) { 2 } else { 5 });
        let sizes = [1, 10, 1_000, 20_000, 300_000, 2_000_000];
        Self {
            hops,
            proxies: (0..=hops).map(|_| proxy_options(random)).collect(),
            listeners: (0..=hops).map(|_| listener_options(random)).collect(),
            clusters: (1..=hops).map(|_| cluster_options(random)).collect(),
            extension: match random.u8(..3) {
                0 => json!({ "buffer_size_kb": random.choice([1, 16, 8192]) }),
                _ => json!({}),
            },
            connections: random.usize(1..=3),
            client_sends: sizes[random.usize(..sizes.len())],
            origin_sends: sizes[random.usize(..sizes.len())],
            script,
        }
    }

    /// Runs the case on a binary.
    #[track_caller]
    pub fn observe(&self, binary: &Path, arguments: &[&str]) -> Observed {
        let origin = self.origin();
        let upstream = match self.script {
            Script::Refused => dead_port(),
            _ => origin.port(),
        };
        let arguments = arguments.iter().copied();
        let mut proxy = Start::new(self.config(upstream)).binary(binary).arguments(arguments).start();
        let clients = (0..self.connections).map(|_| self.client(proxy.connect("hop0"))).collect();
        let notes = match self.script {
            Script::Refused => Vec::new(),
            _ => origin.wait(self.connections),
        };
        proxy.admin().wait_idle();
        let mut stats = proxy.admin().moved();
        // How often flow control steps in, and what is left to flush at the end, depends on how fast everybody is.
        stats.retain(|name, _| !name.contains("flow_control") && !name.ends_with("upstream_flush_total"));
        let (status, _) = proxy.stop();
        let logs = (0..=self.hops).map(|at| {
            let mut lines = proxy.lines_now(&format!("hop{at}.log"));
            lines.iter_mut().for_each(|line| *line = line.replace(&format!(":{upstream}"), ":UP"));
            lines.sort();
            lines
        });
        Observed { clients, origin: notes, logs: logs.collect(), stats, exit: status.code() }
    }

    fn config(&self, upstream: u16) -> Value {
        let next = |at: usize| if at < self.hops { format!("to_hop{}", at + 1) } else { "up".into() };
        let filters = |at: usize| {
            let state = filter_state("state", "envoy.string", "of the first", "TRANSITIVE");
            let log = log_to(
                &format!("hop{at}.log"),
                "%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_HOST% %UPSTREAM_CLUSTER% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% wire=%UPSTREAM_WIRE_BYTES_SENT%/%UPSTREAM_WIRE_BYTES_RECEIVED% %CONNECTION_TERMINATION_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %DYNAMIC_METADATA(host)% %DYNAMIC_METADATA(cluster:of)% %FILTER_STATE(state:PLAIN)%",
            );
            let proxy = tcp_proxy(&format!("hop{at}"), &next(at)).with(self.proxies[at].clone()).with(log);
            if at == 0 { vec![set_filter_state([state]), proxy] } else { vec![proxy] }
        };
        let inner = (1..=self.hops)
            .map(|at| internal_listener(&format!("hop{at}"), filters(at)).with(self.listeners[at].clone()));
        let towards = (1..=self.hops).map(|at| {
            let host = internal(&format!("hop{at}/id")).with(metadata(json!({ "host": { "hop": at } })));
            cluster(&format!("to_hop{at}"), [host]).with(self.clusters[at - 1].clone())
        });
        let outer = listener("hop0", filters(0)).with(self.listeners[0].clone());
        let mut config =
            bootstrap(std::iter::once(outer).chain(inner), towards.chain([cluster("up", [port(upstream)])]));
        let extension = config["bootstrap_extensions"][0].take();
        config["bootstrap_extensions"][0] = extension.with(self.extension.clone());
        config
    }

    fn origin(&self) -> Origin {
        let case = self.clone();
        Origin::start(move |mut stream, record| {
            let answer = vec![b'o'; case.origin_sends];
            // The client may be gone: that it is noticed is what is looked at.
            match case.script {
                Script::ClientFinishes => {
                    note(record, client::drain(&mut stream).to_string());
                    let _ = stream.write_all(&answer);
                }
                Script::OriginFinishes => {
                    let _ = stream.write_all(&answer);
                    let _ = stream.shutdown(Shutdown::Write);
                    note(record, client::drain(&mut stream).to_string());
                }
                Script::ClientCloses | Script::OriginCloses | Script::ClientResets => {
                    let read = read_exactly(&mut stream, case.client_sends);
                    let _ = stream.write_all(&answer);
                    let end = if matches!(case.script, Script::OriginCloses) {
                        0
                    } else {
                        client::drain(&mut stream)
                    };
                    note(record, format!("{read} {end}"));
                }
                Script::OriginResets => {
                    note(record, read_exactly(&mut stream, case.client_sends).to_string());
                    client::reset(stream);
                }
                Script::Refused => {}
            }
        })
    }

    fn client(&self, mut stream: TcpStream) -> (usize, End) {
        let data = vec![b'c'; self.client_sends];
        match self.script {
            Script::ClientFinishes => {
                write(&stream, data, true);
                received(&mut stream)
            }
            Script::OriginFinishes => {
                let seen = received(&mut stream);
                // The origin reads on.
                stream.write_all(&data).expect("the other direction is open");
                seen
            }
            Script::ClientCloses | Script::ClientResets => {
                write(&stream, data, false);
                let seen = read_exactly(&mut stream, self.origin_sends);
                if matches!(self.script, Script::ClientResets) {
                    client::reset(stream);
                }
                (seen, End::Open)
            }
            Script::OriginCloses | Script::OriginResets => {
                write(&stream, data, false);
                received(&mut stream)
            }
            Script::Refused => received(&mut stream),
        }
    }
}

/// Options of a TCP proxy that must not change what is seen.
fn proxy_options(random: &mut fastrand::Rng) -> Value {
    match random.u8(..5) {
        0 => json!({ "idle_timeout": "0s" }),
        1 => json!({ "idle_timeout": "300s" }),
        2 => json!({ "max_downstream_connection_duration": "300s" }),
        3 => json!({ "access_log_options": { "flush_access_log_on_connected": true } }),
        _ => json!({}),
    }
}

/// Options of a listener that must not change what is seen, however often they let data wait.
fn listener_options(random: &mut fastrand::Rng) -> Value {
    match random.u8(..4) {
        0 => json!({ "per_connection_buffer_limit_bytes": random.choice([1024, 16_384, 4_000_000]) }),
        _ => json!({}),
    }
}

/// What a cluster hands on, if anything.
fn cluster_options(random: &mut fastrand::Rng) -> Value {
    let socket = match random.u8(..4) {
        0 => raw_buffer(),
        1 => internal_upstream(&[]),
        2 => internal_upstream(&[("host", "host"), ("cluster", "cluster"), ("missing", "host")]),
        _ => return metadata(json!({ "cluster": { "of": "no transport" } })),
    };
    metadata(json!({ "cluster": { "of": "this hop" } })).with(json!({ "transport_socket": socket }))
}

/// Writes beside reading, so that large amounts in both directions cannot block each other.
fn write(stream: &TcpStream, data: Vec<u8>, finish: bool) {
    let mut stream = stream.try_clone().expect("a descriptor for the other direction");
    thread::spawn(move || {
        // The other side may end the connection first.
        let _ = stream.write_all(&data);
        if finish {
            let _ = stream.shutdown(Shutdown::Write);
        }
    });
}

fn received(stream: &mut TcpStream) -> (usize, End) {
    let (text, end) = client::read_all(stream);
    (text.len(), end)
}

/// Reads that many bytes, or what comes before the end.
fn read_exactly(stream: &mut TcpStream, count: usize) -> usize {
    let (mut buffer, mut total) = (vec![0; 65536], 0);
    while total < count {
        let most = buffer.len().min(count - total);
        match stream.read(&mut buffer[..most]) {
            Ok(read @ 1..) => total += read,
            Ok(0) | Err(_) => break,
        }
    }
    total
}
