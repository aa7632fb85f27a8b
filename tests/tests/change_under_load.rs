//! A thousand updates of every kind from a control plane, under constant load through three internal hops: nothing fails, no byte
//! is lost, and nothing stays behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{collections::BTreeMap, net::TcpStream, thread};

use serde_json::{Value, json};
use underpass_tests::{
    HttpOrigin, Origin, Proxy, Start, With, client,
    config::{bootstrap, cluster, internal, internal_listener, listener, port, tcp_proxy},
    constant_load::{Load, Phase, Requests, echo},
    control_plane::{ControlPlane, ads, is_installed},
    eventually,
    http_config::{accepts_connect, connect_route, hcm, protocol_options, route, speaks_http2, tunneling},
    payload,
    resources::{CLUSTER, ENDPOINTS, LISTENER, ROUTES},
};

const UPDATES: usize = 1000;
/// Seconds that connections of what is replaced may go on; each of the load's short ones takes much less.
const DRAIN: &str = "4";

/// What a control plane has, by name.
#[derive(Default)]
struct Resources(BTreeMap<String, Value>);

impl Resources {
    fn put(&mut self, name: &str, resource: Value) {
        self.0.insert(name.to_owned(), resource);
    }

    fn merge(&mut self, name: &str, fields: Value) {
        let resource = self.0.get_mut(name).unwrap();
        *resource = resource.take().with(fields);
    }

    fn all(&self) -> Vec<Value> {
        self.0.values().cloned().collect()
    }
}

/// A fleet of one: its control plane, and what that has.
struct Fleet {
    plane: ControlPlane,
    version: usize,
    listeners: Resources,
    clusters: Resources,
    endpoints: Resources,
    routes: Resources,
    ports: Ports,
}

/// Where the origins are.
struct Ports {
    web: [u16; 2],
    echo: [u16; 2],
}

fn eds_cluster(name: &str) -> Value {
    json!({ "name": name, "type": "EDS", "connect_timeout": "4s", "eds_cluster_config": {
        "eds_config": { "ads": {}, "resource_api_version": "V3" } } })
}

/// Weights by port.
fn endpoints(name: &str, hosts: &[(u16, u32)]) -> Value {
    let host = |(number, weight): &(u16, u32)| port(*number).with(json!({ "load_balancing_weight": weight }));
    json!({ "cluster_name": name, "endpoints": [{ "lb_endpoints": hosts.iter().map(host).collect::<Vec<_>>() }] })
}

fn proxy_filter(name: &str, cluster: &str, attempts: usize) -> Value {
    tcp_proxy(name, cluster).with(json!({ "max_connect_attempts": attempts }))
}

fn manager(number: usize) -> Value {
    let mut manager = hcm("web", []);
    let config = manager["typed_config"].as_object_mut().unwrap();
    config.remove("route_config");
    config.remove("access_log");
    let source = json!({ "ads": {}, "resource_api_version": "V3" });
    manager.with(json!({
        "rds": { "route_config_name": "routes", "config_source": source },
        "stream_idle_timeout": format!("{}s", 100 + number),
    }))
}

fn routes(number: usize) -> Value {
    let route = route("/", "to_h1").with(json!({ "response_headers_to_add": [
        { "header": { "key": "x-version", "value": number.to_string() } }] }));
    json!({ "name": "routes", "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] })
}

impl Fleet {
    /// Three chains of three hops: `h` for HTTP, `t` for TCP, and `s` for streams that last, whose last hop is an HTTP/2 tunnel.
    fn new(ports: Ports) -> Self {
        let mut fleet = Self {
            plane: ControlPlane::start(),
            version: 0,
            listeners: Resources::default(),
            clusters: Resources::default(),
            endpoints: Resources::default(),
            routes: Resources::default(),
            ports,
        };
        let listeners = &mut fleet.listeners;
        listeners.put("web", listener("web", [manager(0)]));
        listeners.put("tcp", listener("tcp", [proxy_filter("tcp", "to_t1", 1)]));
        listeners.put("still", listener("still", [tcp_proxy("still", "to_s1")]));
        listeners.put("doomed", listener("doomed", [tcp_proxy("doomed", "doomed")]));
        for (chain, last) in [("h", "web"), ("t", "echo"), ("s", "still")] {
            for number in 1..=3 {
                let (name, next) = (format!("{chain}{number}"), format!("to_{chain}{}", number + 1));
                let next = if number == 3 { last } else { &next };
                let filter = match name.as_str() {
                    "s2" => tcp_proxy(&name, next).with(tunneling("tunnel.example:1", json!({}))),
                    "s3" => {
                        let mut manager = hcm("s3", [connect_route(next)]).with(accepts_connect());
                        manager["typed_config"].as_object_mut().unwrap().remove("access_log");
                        manager
                    }
                    _ => proxy_filter(&name, next, 1),
                };
                listeners.put(&name, internal_listener(&name, [filter]));
                let to = cluster(&format!("to_{name}"), [internal(&name)]);
                let to = match name.as_str() {
                    "s3" => to.with(speaks_http2()),
                    // A `tcp_proxy` that drains has no way to say so to the pool in front of it, so what is kept there must not
                    // get older than the drain time, as with any upstream that ends connections.
                    "h1" => to.with(protocol_options(json!({
                        "explicit_http_config": { "http_protocol_options": {} },
                        "common_http_protocol_options": { "max_connection_duration": "1s" },
                    }))),
                    _ => to,
                };
                fleet.clusters.put(&format!("to_{name}"), to);
            }
            fleet.clusters.put(last, eds_cluster(last));
        }
        let Ports { web, echo } = &fleet.ports;
        fleet.endpoints.put("web", endpoints("web", &[(web[0], 1)]));
        fleet.endpoints.put("echo", endpoints("echo", &[(echo[0], 1)]));
        fleet.endpoints.put("still", endpoints("still", &[(echo[0], 1)]));
        fleet.routes.put("routes", routes(0));
        for kind in [CLUSTER, ENDPOINTS, ROUTES, LISTENER] {
            fleet.publish(kind);
        }
        fleet
    }

    fn publish(&mut self, kind: &str) {
        self.version += 1;
        let resources = match kind {
            CLUSTER => self.clusters.all(),
            ENDPOINTS => self.endpoints.all(),
            ROUTES => self.routes.all(),
            _ => self.listeners.all(),
        };
        self.plane.set(kind, &self.version.to_string(), &resources);
    }

    fn weights(&mut self, name: &str, hosts: &[(u16, u32)]) -> &'static str {
        self.endpoints.put(name, endpoints(name, hosts));
        ENDPOINTS
    }

    fn cluster(&mut self, name: &str, fields: Value) -> &'static str {
        self.clusters.merge(name, fields);
        CLUSTER
    }

    fn listener(&mut self, name: &str, fields: Value) -> &'static str {
        self.listeners.merge(name, fields);
        LISTENER
    }

    /// Does one update of many kinds; `round` counts the rounds through all kinds. Returns when the proxy has accepted it.
    fn update(&mut self, number: usize, round: usize, proxy: &Proxy, doomed: &mut Option<TcpStream>) {
        let Ports { web: [web, other_web], echo: [echo, other_echo] } = self.ports;
        // Two forms of everything in turn, neither of which is the first.
        let turn = round % 2 + 1;
        let timeout = json!({ "connect_timeout": format!("{}s", 4 + turn) });
        let chain = |filter: Value| json!({ "filter_chains": [{ "filters": [filter] }] });
        let kind = match number {
            0 => self.weights("echo", &[(echo, 1), (other_echo, 1)]),
            1 => self.weights("echo", &[(echo, 2), (other_echo, 5)]),
            2 => self.weights("web", &[(web, 1), (other_web, 1)]),
            3 => self.weights("web", &[(other_web, 1)]),
            4 => self.weights("web", &[(web, 1)]),
            5 => self.weights("echo", &[(echo, 1)]),
            6 => {
                self.clusters.put("doomed", cluster("doomed", [port(echo)]));
                CLUSTER
            }
            7 => {
                self.listeners.put("more", listener("more", [tcp_proxy("more", "to_t1")]));
                LISTENER
            }
            8 => self.cluster("echo", timeout),
            9 => self.cluster("web", timeout),
            10 => {
                self.cluster("to_s3", timeout.clone());
                self.cluster("still", timeout)
            }
            11 => {
                // A stream that uses the cluster must outlive it.
                let mut stream = proxy.connect("doomed");
                assert_eq!(client::ask(&mut stream, "before"), "before");
                *doomed = Some(stream);
                self.clusters.0.remove("doomed");
                CLUSTER
            }
            12 => {
                self.routes.put("routes", routes(turn));
                ROUTES
            }
            13 => self.listener("tcp", chain(proxy_filter("tcp", "to_t1", turn + 1))),
            14 => self.listener("t1", chain(proxy_filter("t1", "to_t2", turn + 1))),
            15 => self.listener("t2", json!({ "listener_filters_timeout": format!("{}s", 20 + turn) })),
            16 => self.listener("tcp", json!({ "per_connection_buffer_limit_bytes": 65536 * turn })),
            17 => self.listener("web", chain(manager(turn))),
            18 => self.listener("h2", json!({ "listener_filters_timeout": format!("{}s", 20 + turn) })),
            _ => {
                self.listeners.0.remove("more");
                LISTENER
            }
        };
        self.publish(kind);
        let answer = self.plane.answer(kind);
        assert_eq!(answer["error_detail"], Value::Null, "update {number} of round {round}");
        if number == 12 {
            let version = turn.to_string();
            eventually("the routes are in use", || {
                Requests::new(proxy.listener("web")).get().as_ref() == Ok(&version)
            });
        }
        if let Some(mut stream) = doomed.take() {
            assert_eq!(client::ask(&mut stream, "after"), "after");
        }
    }
}

type Threads<'scope> = Vec<thread::ScopedJoinHandle<'scope, ()>>;

/// Requests, new connections, short streams, and streams that last as long as the test.
fn start<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    load: &'scope Load,
    proxy: &'scope Proxy,
) -> Threads<'scope> {
    let (tcp, mut threads) = (proxy.listener("tcp"), Threads::new());
    for _ in 0..3 {
        let step = |requests: &mut Requests| requests.get().map(drop);
        threads.push(scope.spawn(move || {
            load.repeat(Requests::new(proxy.listener("web")), step, Requests::close);
        }));
    }
    for _ in 0..2 {
        threads.push(scope.spawn(move || {
            let step = |(): &mut ()| {
                let mut stream = TcpStream::connect(tcp).map_err(|error| error.to_string())?;
                echo(&mut stream, &mut 0)
            };
            load.repeat((), step, |()| {});
        }));
    }
    threads.push(scope.spawn(move || {
        let step = |(): &mut ()| {
            let stream = TcpStream::connect(tcp).map_err(|error| error.to_string())?;
            let received = payload::exchange(stream, 200_000);
            if received == 200_000 { Ok(()) } else { Err(format!("{received} bytes of a short stream")) }
        };
        load.repeat((), step, |()| {});
    }));
    for _ in 0..3 {
        let stream = proxy.connect("still");
        threads.push(scope.spawn(move || {
            load.repeat((stream, 0), |(stream, position)| echo(stream, position), |_| {});
        }));
    }
    threads
}

/// What a process holds while nothing is going on but what is there for good.
#[derive(Debug)]
struct Held {
    memory: u64,
    descriptors: usize,
    stats: usize,
    gauges: BTreeMap<String, u64>,
}

impl Held {
    /// Pauses the load, waits until all that drains is gone, and looks.
    fn measure(load: &Load, threads: usize, proxy: &Proxy) -> Self {
        load.set(Phase::Paused);
        eventually("the load rests", || load.resting() == threads as u64);
        let admin = proxy.admin();
        for gauge in [
            "listener_manager.total_listeners_draining",
            "listener_manager.total_filter_chains_draining",
            "listener_manager.total_listeners_warming",
            "cluster_manager.warming_clusters",
            "cluster.to_t1.upstream_cx_active",
            "http.web.downstream_cx_active",
        ] {
            admin.wait_stat(gauge, 0);
        }
        let gauges = admin.get("/stats?type=Gauges");
        let gauges = gauges.lines().filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            // What depends on the moment, or on how many connections a pool happens to have.
            let passing =
                ["memory", "uptime", "time", "version", "upstream_cx", "buffered", "_seconds", "admin"];
            let lasting = !passing.iter().any(|word| name.contains(word));
            lasting.then(|| Some((name.to_owned(), value.parse().ok()?))).flatten()
        });
        let gauges = gauges.collect();
        let held = Self {
            memory: admin.stat("server.memory_allocated"),
            descriptors: proxy.descriptors(),
            stats: admin.get("/stats").lines().count(),
            gauges,
        };
        load.set(Phase::Running);
        held
    }
}

/// A thousand updates, by one form of the protocol.
fn change_everything(api_type: &str) {
    let webs = [HttpOrigin::start(), HttpOrigin::start()];
    let echoes = [Origin::echo(), Origin::echo()];
    let ports =
        Ports { web: webs.each_ref().map(HttpOrigin::port), echo: echoes.each_ref().map(Origin::port) };
    let mut fleet = Fleet::new(ports);
    let (control_plane, resources) = ads(fleet.plane.port(), api_type);
    let everything = resources.with(json!({ "cds_config": { "ads": {}, "resource_api_version": "V3" } }));
    let config = bootstrap([], [control_plane])
        .with(json!({ "node": { "id": "me", "cluster": "us" }, "dynamic_resources": everything }));
    let proxy = Start::new(config).arguments(["--drain-time-s", DRAIN, "--concurrency", "2"]).start();
    for kind in [CLUSTER, ENDPOINTS, LISTENER, ROUTES] {
        fleet.plane.answer(kind);
    }
    let load = Load::default();
    thread::scope(|scope| {
        let over = OnDrop(&load);
        let threads = start(scope, &load, &proxy);
        let mut held = Vec::new();
        let mut doomed = None;
        for update in 0..UPDATES {
            fleet.update(update % 20, update / 20, &proxy, &mut doomed);
            assert_eq!(load.failures(), Vec::<String>::new(), "after update {update}");
            if (update + 1) % (UPDATES / 2) == 0 {
                held.push(Held::measure(&load, threads.len(), &proxy));
            }
        }
        drop(over);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        compare(&held);
    });
    assert_eq!(load.failures(), Vec::<String>::new());
    assert!(load.steps() > UPDATES as u64, "there was load");
    let stats = proxy.admin().stats();
    let counted = |name: &str| stats.get(name).copied().unwrap_or(0);
    let rounds = UPDATES as u64 / 20;
    assert!(
        counted("cluster_manager.cluster_removed") == rounds,
        "{}",
        counted("cluster_manager.cluster_removed")
    );
    assert_eq!(counted("listener_manager.listener_removed"), rounds);
    assert!(counted("listener_manager.listener_in_place_updated") >= 3 * rounds - 3);
    assert_eq!(counted("listener_manager.lds.update_rejected"), 0);
    assert_eq!(counted("cluster_manager.cds.update_rejected"), 0);
    for name in ["echo", "web", "still"] {
        // No version of a cluster had to wait for endpoints that were known.
        assert_eq!(counted(&format!("cluster.{name}.init_fetch_timeout")), 0, "{name}");
    }
}

/// Ends the load on every way out.
struct OnDrop<'a>(&'a Load);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(Phase::Over);
    }
}

/// What half of the updates left behind, the other half must not have added to.
fn compare(held: &[Held]) {
    let [first, second] = held else { panic!("two looks") };
    assert_eq!(first.gauges, second.gauges);
    assert_eq!(first.stats, second.stats, "stats that stay");
    assert!(second.descriptors <= first.descriptors + 8, "{} and {}", first.descriptors, second.descriptors);
    let grown = second.memory.saturating_sub(first.memory);
    assert!(grown < 4_000_000, "{grown} bytes more than {}", first.memory);
}

#[test]
fn a_thousand_updates_of_the_state_of_the_world_disturb_nothing() {
    if !is_installed() {
        return;
    }
    change_everything("GRPC");
}

#[test]
fn a_thousand_updates_of_what_changed_disturb_nothing() {
    if !is_installed() {
        return;
    }
    change_everything("DELTA_GRPC");
}
