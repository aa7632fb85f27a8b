//! Many connections, many bytes, slow readers, and clients that leave in every way: nothing is lost and nothing stays.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall say so and end")]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use underpass_tests::{
    Chain, Origin, Proxy, Start,
    client::{self, ask, connect, read_all},
    config::hops,
    eventually,
    kernel_queue::held_by_kernel,
    origin::note,
    payload,
};

const MEGABYTE: u64 = 1_000_000;

/// What is held at most of a connection whose reader does not read: a few buffers of a megabyte. Envoy holds about twice that.
const HELD: u64 = 3 * MEGABYTE;

#[test]
fn two_hundred_connections_at_once() {
    let origin = Origin::echo();
    let proxy = Proxy::start(Chain::to(&origin));
    let address = proxy.listener("outer");
    let mut clients: Vec<_> = (0..200).map(|_| connect(address)).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("message {at:4}").as_bytes()).unwrap();
    }
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client::read(client, 12), format!("message {at:4}"));
    }
    assert_eq!(proxy.admin().stat("cluster.to_inner.upstream_cx_active"), 200);
    assert_eq!(proxy.admin().stat("cluster.up.upstream_cx_active"), 200);
    drop(clients);
    proxy.admin().wait_idle();
    assert_eq!(proxy.admin().stat("tcp.inner.downstream_cx_rx_bytes_total"), 200 * 12);
}

/// A hundred megabytes each way at the same time.
fn hundred_megabytes(count: usize) {
    let origin = Origin::echo();
    let proxy = Proxy::start(hops(count, origin.port()));
    let total = 100 * MEGABYTE;
    let received = payload::exchange(proxy.connect("hop0"), usize::try_from(total).unwrap());
    assert_eq!(received as u64, total);
    proxy.admin().wait_idle();
    for hop in 0..=count {
        for direction in ["rx", "tx"] {
            let name = format!("tcp.hop{hop}.downstream_cx_{direction}_bytes_total");
            assert_eq!(proxy.admin().stat(&name), total, "{name}");
        }
    }
}

#[test]
fn hundred_megabytes_each_way_through_one_hop() {
    hundred_megabytes(1);
}

#[test]
fn hundred_megabytes_each_way_through_two_hops() {
    hundred_megabytes(2);
}

#[test]
fn hundred_megabytes_each_way_through_five_hops() {
    hundred_megabytes(5);
}

/// Something that origins wait for.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(closed, |open| !*open).unwrap());
    }
}

/// Sends until nothing more is taken for a while; how much was taken.
fn push_until_blocked(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let taken = payload::send(stream, 1 << 30);
    assert!(taken < 1 << 30, "a gigabyte was taken");
    taken
}

#[test]
fn upstream_that_does_not_read_stops_the_clients_in_bounded_memory() {
    const CLIENTS: usize = 8;
    let gate = Gate::default();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut stream, record| {
            gate.wait();
            note(record, payload::receive(&mut stream).to_string());
        }
    });
    let proxy = Proxy::start(Chain::to(&origin));
    let before = proxy.memory();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.connect("outer")).collect();
    let pushing: Vec<_> = clients
        .iter_mut()
        .map(|client| client.try_clone().unwrap())
        .map(|mut client| thread::spawn(move || push_until_blocked(&mut client)))
        .collect();
    let taken: Vec<_> = pushing.into_iter().map(|it| it.join().unwrap()).collect();

    // How much the kernel takes by itself depends on the machine and its load: up to what tcp_rmem and tcp_wmem allow.
    let kernel = held_by_kernel(&[proxy.listener("outer").port(), origin.port()]);
    let held = (taken.iter().sum::<usize>() as u64).saturating_sub(kernel);
    assert!(held < HELD * CLIENTS as u64, "{held} bytes are held for {CLIENTS} clients");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 8 * MEGABYTE * CLIENTS as u64, "{grown} bytes of memory for {CLIENTS} clients");
    assert_eq!(proxy.admin().get("/ready"), "LIVE\n");

    // Nothing of it is lost once the upstream reads.
    gate.open();
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut received: Vec<usize> = origin.wait(CLIENTS).iter().map(|it| it.parse().unwrap()).collect();
    received.sort_unstable();
    let mut taken = taken;
    taken.sort_unstable();
    assert_eq!(received, taken);
    drop(clients);
    proxy.admin().wait_idle();
    assert_paused_and_resumed(&proxy);
}

#[test]
fn client_that_does_not_read_stops_the_upstream_in_bounded_memory() {
    let origin = Origin::start(|mut stream, record| {
        note(record, push_until_blocked(&mut stream).to_string());
    });
    let proxy = Proxy::start(Chain::to(&origin));
    let before = proxy.memory();
    let mut client = proxy.connect("outer");
    let taken = origin.wait(1)[0].parse::<usize>().unwrap();
    let kernel = held_by_kernel(&[proxy.listener("outer").port(), origin.port()]);
    let held = (taken as u64).saturating_sub(kernel);
    assert!(held < HELD, "{held} bytes are held");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 10 * MEGABYTE, "{grown} bytes of memory");
    assert_eq!(payload::receive(&mut client), taken);
    drop(client);
    proxy.admin().wait_idle();
    assert_paused_and_resumed(&proxy);
}

/// Flow control was used, and whoever was paused was resumed.
#[track_caller]
fn assert_paused_and_resumed(proxy: &Proxy) {
    let stats = proxy.admin().stats();
    let stat = |name: &str| stats.get(name).copied().unwrap_or(0);
    let mut paused = 0;
    for (cluster, tcp_proxy) in [("to_inner", "outer"), ("up", "inner")] {
        for prefix in [
            format!("tcp.{tcp_proxy}.downstream_flow_control"),
            format!("cluster.{cluster}.upstream_flow_control"),
        ] {
            let count = stat(&format!("{prefix}_paused_reading_total"));
            assert_eq!(stat(&format!("{prefix}_resumed_reading_total")), count, "{prefix}");
            paused += count;
        }
    }
    assert!(paused > 0, "nobody was paused");
}

/// An origin that ends connections in all ways, as the first byte asks: echo, finish at once, close, reset.
fn moody_origin() -> Origin {
    Origin::start(|mut stream, _| {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            match buffer[0] {
                b'f' => {
                    let _ = stream.shutdown(Shutdown::Write);
                }
                b'c' => return,
                b'r' => return client::reset(stream),
                _ => {
                    let _ = stream.write_all(&buffer[..count]);
                }
            }
        }
    })
}

/// A client that leaves somehow. What it sees is its own affair: errors are what is wanted here.
fn short_visit(address: SocketAddr, random: &mut fastrand::Rng) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let _ = stream.set_read_timeout(Some(underpass_tests::PATIENCE));
    let length = [0, 1, 100, 3000, 60_000][random.usize(..5)];
    let mut data = vec![b'x'; length];
    if let Some(first) = data.first_mut() {
        *first = *random.choice(b"eeefcr").unwrap_or(&b'e');
    }
    match random.u8(..8) {
        // Gone before anybody accepts, politely and not.
        0 => {}
        1 => client::reset(stream),
        // Gone while data is on its way.
        2 => {
            let _ = stream.write_all(&data);
        }
        3 => {
            let _ = stream.write_all(&data);
            client::reset(stream);
        }
        // Gone after a part of the answer.
        4 => {
            let _ = stream.write_all(&data);
            let mut some = [0; 10];
            if length > 0 {
                let _ = stream.read(&mut some);
            }
        }
        // Half-closed, then gone.
        5 => {
            let _ = stream.write_all(&data);
            let _ = stream.shutdown(Shutdown::Write);
            client::reset(stream);
        }
        // Half-closed, and heard to the end.
        _ => {
            let _ = stream.write_all(&data);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = read_all(&mut stream);
        }
    }
}

/// Ten thousand short visits; afterwards no connection is counted as open and no descriptor is left.
fn short_visits(concurrency: &str) {
    const THREADS: u64 = 4;
    let origin = moody_origin();
    let proxy = Start::new(Chain::to(&origin)).arguments(["--concurrency", concurrency]).start();
    let address = proxy.listener("outer");
    // What is opened once, on first use, is not what is looked for.
    for seed in 0..20 {
        short_visit(address, &mut fastrand::Rng::with_seed(seed));
    }
    assert_eq!(ask(&mut connect(address), "warm"), "warm");
    proxy.admin().wait_idle();
    let before = proxy.descriptors();

    let visitors: Vec<_> = (0..THREADS)
        .map(|seed| {
            thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                (0..10_000 / THREADS).for_each(|_| short_visit(address, &mut random));
            })
        })
        .collect();
    visitors.into_iter().for_each(|it| it.join().unwrap());

    proxy.admin().wait_idle();
    eventually("no descriptor is left", || proxy.descriptors() <= before);
    assert_eq!(ask(&mut connect(address), "still there"), "still there");
    let stats = proxy.admin().stats();
    for (total, destroyed) in [
        ("cluster.to_inner.upstream_cx_total", "cluster.to_inner.upstream_cx_destroy"),
        ("cluster.up.upstream_cx_total", "cluster.up.upstream_cx_destroy"),
    ] {
        assert!(stats[total] > 5_000, "{total}: {}", stats[total]);
        // A connection that failed or was given up before it was established counts as connected, not as destroyed.
        assert!(stats[destroyed] <= stats[total], "{destroyed}: {}", stats[destroyed]);
    }
}

#[test]
fn ten_thousand_short_visits_leave_nothing() {
    short_visits("1");
}

#[test]
fn ten_thousand_short_visits_to_two_workers_leave_nothing() {
    short_visits("2");
}

#[test]
fn slow_writer_is_not_kept_waiting_by_full_buffers() {
    // A byte at a time, each answered: nothing on the way waits for more.
    let origin = Origin::echo();
    let proxy = Proxy::start(hops(3, origin.port()));
    let mut client = proxy.connect("hop0");
    for byte in "one byte at a time".split_inclusive(|_| true) {
        assert_eq!(ask(&mut client, byte), byte);
    }
}
