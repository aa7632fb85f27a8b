//! Workers on threads of their own, as they are in a process.

use std::{
    io::{Read, Write},
    net::TcpStream,
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{broadcast, watch},
};
use underpass_core::{stats, worker::Worker};

use super::{
    super::Change,
    harness::{Proxy, chain, saying, with_chains},
};
use crate::test_server::{TestOptions, eventually};

/// Workers that serve until this is dropped.
struct Threads {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    pauses: broadcast::Sender<Pause>,
    crowd: watch::Sender<()>,
}

/// More tasks than tokio runs before it looks at its sockets again (`event_interval`, 61).
const CROWD: usize = 100;

impl Threads {
    /// Starts the workers; returns when all of them listen.
    fn start(proxy: &Proxy) -> Self {
        proxy.manager.bind().unwrap();
        let stop = watch::Sender::new(false);
        let (attached, listening) = mpsc::channel();
        let (pauses, _) = broadcast::channel::<Pause>(1);
        let crowd = watch::Sender::new(());
        let thread = |index| {
            let (server, manager) = (Arc::clone(&proxy.server.context), Arc::clone(&proxy.manager));
            let (mut stopped, attached) = (stop.subscribe(), attached.clone());
            let (mut pauses, crowd) = (pauses.subscribe(), crowd.subscribe());
            std::thread::spawn(move || {
                stats::set_worker(index);
                let mut runtime = Builder::new_current_thread();
                let runtime = runtime.enable_all().build_local(LocalOptions::default()).unwrap();
                runtime.block_on(async {
                    manager.attach(&Rc::new(Worker::new(index, server))).unwrap();
                    attached.send(()).unwrap();
                    for mut crowd in vec![crowd; CROWD] {
                        tokio::task::spawn_local(async move { while crowd.changed().await.is_ok() {} });
                    }
                    tokio::task::spawn_local(async move {
                        while let Ok(Pause { begun, end }) = pauses.recv().await {
                            begun.send(()).unwrap();
                            // An error is the end, too.
                            let _ = end.lock().unwrap().recv();
                        }
                    });
                    stopped.wait_for(|stop| *stop).await.unwrap();
                });
            })
        };
        let threads: Vec<_> = (0..proxy.server.context.options.concurrency).map(thread).collect();
        threads.iter().for_each(|_| listening.recv().unwrap());
        Self { stop, threads, pauses, crowd }
    }

    /// Lets a single worker do nothing until the returned value is dropped, like one that is busy. Then it has so much to
    /// do that it looks at its sockets before it hears of what happens in the meantime.
    fn pause(&self) -> mpsc::Sender<()> {
        let ((begun, begins), (going_on, end)) = (mpsc::channel(), mpsc::channel());
        self.pauses.send(Pause { begun, end: Arc::new(Mutex::new(end)) }).unwrap();
        begins.recv().unwrap();
        self.crowd.send_replace(());
        going_on
    }
}

/// A worker is to do nothing until there is word, or nobody to say it.
#[derive(Debug, Clone)]
struct Pause {
    begun: mpsc::Sender<()>,
    end: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

fn two_workers() -> TestOptions {
    TestOptions { concurrency: 2, drain_time: Duration::from_millis(400), ..TestOptions::default() }
}

/// A client that waits for its connection to be served.
fn client(proxy: &Proxy, name: &str, greeting: &str) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port(name))).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut got = vec![0; greeting.len()];
    client.read_exact(&mut got).unwrap();
    assert!(greeting == "?" || got == greeting.as_bytes());
    client
}

/// What a client is greeted with.
fn greeting(mut client: TcpStream, length: usize) -> String {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut got = vec![0; length];
    client.read_exact(&mut got).unwrap();
    String::from_utf8(got).unwrap()
}

fn ping(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[tokio::test]
async fn exact_balance_hands_connections_from_thread_to_thread() {
    let balanced = saying("l", "{worker}", "connection_balance_config: {exact_balance: {}}");
    let proxy = Proxy::load(two_workers(), &[&balanced]).unwrap();
    let _threads = Threads::start(&proxy);
    let mut clients: Vec<_> = (0..20).map(|_| client(&proxy, "l", "?")).collect();
    clients.iter_mut().for_each(ping);
    let active = |worker: usize| {
        proxy.server.stat(&format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_active"))
    };
    assert_eq!((active(0), active(1)), (10, 10));
    assert_eq!(proxy.server.stat("listener_manager.workers_started"), 1);
}

#[tokio::test]
async fn an_update_reaches_every_thread_and_disturbs_no_connection() {
    let proxy = Proxy::load(two_workers(), &[]).unwrap();
    let _threads = Threads::start(&proxy);
    let kept = chain("kept", "filter_chain_match: {source_type: SAME_IP_OR_LOOPBACK}");
    let with = |port: u16| {
        let other = chain("other", &format!("filter_chain_match: {{destination_port: {port}}}"));
        with_chains("l", &[kept.clone(), other], "")
    };
    proxy.update(&with(1)).unwrap();
    eventually(
        || proxy.server.stat("listener_manager.listener_create_success") == 2,
        || "not started".into(),
    )
    .await;
    let mut clients: Vec<_> = (0..30).map(|_| client(&proxy, "l", "kept")).collect();
    for port in 2..12 {
        assert_eq!(proxy.update(&with(port)).unwrap(), Change::UpdatedInPlace);
        clients.push(client(&proxy, "l", "kept"));
        clients.iter_mut().for_each(ping);
    }
    proxy.server.wait_for("listener_manager.total_filter_chains_draining", 0).await;
    clients.iter_mut().for_each(ping);
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_active"), 40);
}

#[tokio::test]
async fn a_connection_that_comes_after_a_change_is_served_by_what_is_new() {
    let proxy = Proxy::load(TestOptions::default(), &[]).unwrap();
    let threads = Threads::start(&proxy);
    proxy.update(&saying("l", "old", "")).unwrap();
    drop(client(&proxy, "l", "old"));
    for turn in 0..20 {
        let said = format!("{turn:03}");
        let busy = threads.pause();
        assert_eq!(proxy.update(&saying("l", &said, "")).unwrap(), Change::UpdatedInPlace);
        let client = TcpStream::connect(("127.0.0.1", proxy.port("l"))).unwrap();
        drop(busy);
        assert_eq!(greeting(client, said.len()), said);
    }
}

#[tokio::test]
async fn stopping_a_worker_ends_its_connections_and_writes_their_logs() {
    let proxy = Proxy::load(two_workers(), &[&saying("l", "x", super::harness::LOG)]).unwrap();
    let threads = Threads::start(&proxy);
    let mut clients: Vec<_> = (0..10).map(|_| client(&proxy, "l", "x")).collect();
    drop(threads);
    assert_eq!(proxy.server.logs.all().len(), 10);
    assert_eq!(proxy.server.stat("listener.127.0.0.1_0.downstream_cx_active"), 0);
    assert_eq!(proxy.manager.connections(), 0);
    assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
}
