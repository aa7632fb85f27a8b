//! HUP over and over while requests come in: none fails, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{BufReader, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;
use underpass_tests::{
    HttpOrigin, Origin, Start, With,
    client::connect,
    config::{address, bootstrap, cluster, internal, internal_listener, listener, port, tcp_proxy},
    eventually,
    http_client::{get, read_reply},
    http_config::{hcm, route},
};

/// Sends requests without a pause until it is told to stop; counts them.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// One client with a connection for each request, and one that keeps its connection as long as it may.
    fn on(at: SocketAddr) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |keeps: bool| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            thread::spawn(move || {
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    let status = if keeps { keep_alive(at, &mut connection) } else { get(at, "/").status };
                    assert_eq!(status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        Self { clients: vec![client(false), client(true)], stop, done }
    }

    /// Waits for some more requests.
    fn go_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("requests are answered", || self.done.load(Ordering::Relaxed) > before + 4);
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

/// A request on the connection that there is, or on a new one.
fn keep_alive(at: SocketAddr, connection: &mut Option<BufReader<std::net::TcpStream>>) -> u16 {
    let stream = connection.get_or_insert_with(|| BufReader::new(connect(at)));
    stream.get_mut().write_all(b"GET / HTTP/1.1\r\nhost: test.example\r\n\r\n").unwrap();
    let reply = read_reply(stream);
    if reply.header("connection").eq_ignore_ascii_case("close") {
        *connection = None;
    }
    reply.status
}

#[test]
fn no_request_through_three_hops_fails_while_every_part_changes() {
    const RELOADS: usize = 16;
    let origin = HttpOrigin::start();
    let version = |number: usize| {
        let odd = number % 2 == 1;
        // In turns: another cluster at the end, another filter chain, another listener as a whole, another timeout.
        let up = if odd { "up_odd" } else { "up_even" };
        let next = |hop: usize| if hop == 3 { up.to_owned() } else { format!("to{}", hop + 1) };
        let hop = |at: usize| {
            let proxy = tcp_proxy(&format!("hop{at}"), &next(at))
                .with(json!({ "max_connect_attempts": 1 + (number + at) % 3 }));
            internal_listener(&format!("hop{at}"), [proxy])
                .with(json!({ "per_connection_buffer_limit_bytes": 65_536 + (number / 3) * at }))
        };
        let entry = listener(
            "entry",
            [hcm("entry", [route("/", "to1")]).with(json!({ "server_name": format!("v{}", number / 2) }))],
        );
        let mut listeners = vec![entry, hop(1), hop(2), hop(3)];
        listeners.push(internal_listener(&format!("more{number}"), [tcp_proxy("more", "to1")]));
        let mut clusters: Vec<_> = (1..=3)
            .map(|hop| cluster(&format!("to{hop}"), [internal(&format!("hop{hop}"))]))
            .map(|cluster| cluster.with(json!({ "connect_timeout": format!("{}s", 5 + number / 4) })))
            .collect();
        clusters.push(cluster(up, [port(origin.port())]));
        bootstrap(listeners, clusters)
    };
    let proxy = Start::new(version(0)).arguments(["--drain-time-s", "5"]).start();
    let at = proxy.listener("entry");
    let load = Load::on(at);
    for number in 1..=RELOADS {
        load.go_on();
        proxy.reload(version(number));
    }
    load.go_on();
    load.end();
    proxy.admin().wait_stat("listener_manager.total_listeners_draining", 0);
    proxy.admin().wait_stat("listener_manager.total_filter_chains_draining", 0);
    eventually("what the file does not have any more is gone", || {
        let clusters = proxy.admin().get("/clusters");
        clusters.contains("up_even") && !clusters.contains("up_odd")
    });
    proxy.admin().wait_stat("listener_manager.total_listeners_active", 5);
    assert_eq!(proxy.admin().stat("http.entry.downstream_rq_5xx"), 0);
}

#[test]
fn many_reloads_leave_no_descriptors_behind() {
    let echo = Origin::echo();
    let with = |number: usize| {
        let names = (0..4).map(|at| format!("l{at}_{}", number % 3));
        let refused =
            (number % 4 == 3).then(|| json!({ "name": "broken", "address": address("127.0.0.1", 0) }));
        let listeners = names.map(|name| listener(&name, [tcp_proxy(&name, "up")]));
        bootstrap(listeners.chain(refused), [cluster("up", [port(echo.port())])])
    };
    let proxy = Start::new(with(0)).arguments(["--drain-time-s", "0"]).start();
    let turn = |number: usize| {
        if number % 4 == 3 { drop(proxy.reload_in_vain(with(number))) } else { proxy.reload(with(number)) }
    };
    (1..=4).for_each(turn);
    let settled = || {
        eventually("nothing drains", || proxy.admin().stat("listener_manager.total_listeners_draining") == 0);
    };
    settled();
    let before = proxy.descriptors();
    (5..=36).for_each(turn);
    settled();
    eventually("there are no more of them", || proxy.descriptors() <= before);
}
