//! Connections to listeners that only a test has.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::{LocalSet, spawn_local, yield_now},
};
use underpass_core::{
    cluster::{ClusterInfo, Host},
    config::Value,
    filter_state::{Entry, LifeSpan, SharedWithUpstream, StringObject},
    internal_listener::InternalListener,
    io::BoxIo,
    relay::{RelayCounts, RelayOptions, relay},
    runtime::Layer,
    stream_info::{Passthrough, StreamInfo},
    testing::TestServer,
    user_space_socket::UserSpaceSocket,
    worker::Worker,
};

use super::*;

type Handler = dyn Fn(UserSpaceSocket);

/// A listener that does with each connection what the test says, in a task of its own as real ones do.
struct ToyListener {
    accepted: RefCell<Vec<Address>>,
    handler: Rc<Handler>,
}

impl InternalListener for ToyListener {
    fn accept(&self, socket: UserSpaceSocket, local: Address) {
        self.accepted.borrow_mut().push(local);
        let handler = Rc::clone(&self.handler);
        spawn_local(async move { handler(socket) });
    }
}

fn worker_with_listener(
    server: &TestServer,
    name: &str,
    handler: impl Fn(UserSpaceSocket) + 'static,
) -> (Rc<Worker>, Rc<ToyListener>) {
    let worker = server.worker();
    let registry = Rc::new(InternalListenerRegistry::new(4096));
    let listener = Rc::new(ToyListener { accepted: RefCell::default(), handler: Rc::new(handler) });
    registry.add(name, Rc::clone(&listener) as _);
    worker.slots().insert(registry);
    (worker, listener)
}

/// Connects to `envoy://inner/ep1`.
async fn connect(
    server: &TestServer,
    worker: &Rc<Worker>,
    downstream: Option<&StreamInfo>,
    passthrough: Passthrough,
) -> Result<ConnectedSocket, ConnectError> {
    let address = Address::internal("inner", "ep1");
    let mut context = ConnectContext {
        worker,
        cluster: &Arc::new(ClusterInfo::new("to_inner", &server.context.stats)),
        host: &Arc::new(Host::new(1, address.clone())),
        address: &address,
        downstream,
        passthrough,
        reads_at_once: false,
    };
    EnvoyInternal::default().connect(&mut context).await
}

async fn connect_error(server: &TestServer, worker: &Rc<Worker>) -> String {
    let outcome = connect(server, worker, None, Passthrough::default()).await;
    outcome.err().expect("the connection should have failed").to_string()
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_reach_the_listener_and_addresses_are_as_in_envoy() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let (worker, listener) = worker_with_listener(&server, "inner", |mut socket| {
                spawn_local(async move {
                    let mut text = String::new();
                    socket.read_to_string(&mut text).await.unwrap();
                    socket.write_all(text.to_uppercase().as_bytes()).await.unwrap();
                    socket.shutdown().await.unwrap();
                });
            });
            let connected = connect(&server, &worker, None, Passthrough::default()).await.unwrap();
            assert_eq!(connected.local_address, Some(Address::internal_client()));
            assert_eq!(connected.remote_address.to_string(), "envoy://inner/ep1");
            assert_eq!(*listener.accepted.borrow(), [Address::internal("inner", "ep1")]);

            let mut io = connected.io;
            io.write_all(b"hello").await.unwrap();
            io.shutdown().await.unwrap();
            let mut answer = String::new();
            io.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "HELLO");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_prepared_waits_in_the_socket_with_one_hop_more() {
    let server = TestServer::default();
    let seen: Rc<RefCell<Option<Passthrough>>> = Rc::default();
    LocalSet::new()
        .run_until(async {
            let noted = Rc::clone(&seen);
            let held = RefCell::new(Vec::new());
            let (worker, _) = worker_with_listener(&server, "inner", move |socket| {
                *noted.borrow_mut() = socket.take_passthrough();
                held.borrow_mut().push(socket);
            });
            let downstream = server.stream(Address::internal_client(), Address::internal("outer", ""));
            downstream.internal_hops.set(3);

            let mut passthrough = Passthrough::default();
            let values: BTreeMap<_, _> = [("value".to_owned(), Value::Bool(true))].into();
            passthrough.metadata.set("ns", underpass_core::config::Struct(values));
            let entry = Entry {
                object: Rc::new(StringObject("text".into())),
                read_only: true,
                life_span: LifeSpan::Connection,
                shared_with_upstream: SharedWithUpstream::None,
            };
            passthrough.filter_state.set("key", entry).unwrap();
            connect(&server, &worker, Some(&downstream), passthrough).await.unwrap();
        })
        .await;
    let seen = seen.take().unwrap();
    assert_eq!(seen.internal_hops, 4);
    assert_eq!(seen.metadata.get("ns", &["value"]), Some(&Value::Bool(true)));
    assert!(seen.filter_state.get("key").is_some());
}

#[tokio::test(flavor = "current_thread")]
async fn without_the_extension_or_the_listener_connecting_fails_at_once() {
    let server = TestServer::default();
    let without_extension = server.worker();
    let without_listener = server.worker();
    without_listener.slots().insert(Rc::new(InternalListenerRegistry::new(4096)));
    LocalSet::new()
        .run_until(async {
            for worker in [without_extension, without_listener] {
                assert_eq!(
                    connect_error(&server, &worker).await,
                    "immediate connect error: Invalid argument|remote address:envoy://inner/ep1"
                );
            }
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_listener_that_is_taken_away_is_gone_for_new_connections_only() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let held = RefCell::new(Vec::new());
            let (worker, _listener) =
                worker_with_listener(&server, "inner", move |socket| held.borrow_mut().push(socket));
            let mut old = connect(&server, &worker, None, Passthrough::default()).await.unwrap().io;
            worker.slots().get::<InternalListenerRegistry>().unwrap().remove("inner");
            assert!(connect_error(&server, &worker).await.starts_with("immediate"));
            old.write_all(b"still open").await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_listener_that_closes_while_it_accepts_fails_the_connection_at_once() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let (worker, _) = worker_with_listener(&server, "inner", drop);
            assert_eq!(
                connect_error(&server, &worker).await,
                "immediate connect error: Invalid argument|remote address:envoy://inner/ep1"
            );
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_listener_that_closes_a_turn_later_fails_the_connection_with_delay() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let (worker, _) = worker_with_listener(&server, "inner", |socket| {
                spawn_local(async move {
                    yield_now().await;
                    drop(socket);
                });
            });
            assert_eq!(connect_error(&server, &worker).await, "delayed connect error: Invalid argument");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_listener_that_is_connected_upstream_is_not_waited_for() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let (worker, _) = worker_with_listener(&server, "inner", |socket| {
                spawn_local(async move {
                    let (upstream, mut origin) = pair(PairOptions::new(Address::internal("origin", "")));
                    let (mut downstream, mut upstream): (BoxIo, BoxIo) = (Box::new(socket), Box::new(upstream));
                    let counts = Rc::new(RelayCounts::default());
                    let relay = relay(&mut downstream, &mut upstream, RelayOptions::default(), counts);
                    let answer = async { origin.write_all(b"hi").await.map(|()| origin) };
                    let (_, _) = tokio::join!(relay, answer);
                });
            });
            let connecting = spawn_local(async move {
                tokio::select! {
                    biased;
                    connected = connect(&server, &worker, None, Passthrough::default()) => connected.unwrap().io,
                    () = yield_now() => panic!("a turn has passed"),
                }
            });
            let mut text = [0; 2];
            connecting.await.unwrap().read_exact(&mut text).await.unwrap();
            assert_eq!(&text, b"hi");
        })
        .await;
}

/// Envoy: `UF,URX` and `delayed_connect_error:_Invalid_argument` for the outer listener.
#[tokio::test(flavor = "current_thread")]
async fn a_listener_whose_upstream_refuses_at_once_fails_the_connection_with_delay() {
    let refusing = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            for _ in 0..20 {
                let (worker, _) = worker_with_listener(&server, "inner", move |socket| {
                    spawn_local(async move {
                        assert!(tokio::net::TcpStream::connect(refusing).await.is_err());
                        drop(socket);
                    });
                });
                assert_eq!(connect_error(&server, &worker).await, "delayed connect error: Invalid argument");
            }
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn the_first_of_several_hops_counts_as_connected_before_the_others() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            for (hops_before, turns, connects) in
                [(0, 3, true), (1, 3, false), (1, 4, false), (1, 5, true), (2, 3, false), (2, 4, true)]
            {
                let (worker, _listener) = worker_with_listener(&server, "inner", move |socket| {
                    spawn_local(async move {
                        for _turn in 0..turns {
                            yield_now().await;
                        }
                        drop(socket);
                    });
                });
                let downstream = server.stream(Address::internal_client(), Address::internal("outer", ""));
                downstream.internal_hops.set(hops_before);
                let outcome = connect(&server, &worker, Some(&downstream), Passthrough::default()).await;
                assert_eq!(outcome.is_ok(), connects, "after {hops_before} hops and {turns} turns");
            }
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_listener_that_answers_and_closes_at_once_was_connected_to() {
    let server = TestServer::default();
    LocalSet::new()
        .run_until(async {
            let (worker, _) = worker_with_listener(&server, "inner", |mut socket| {
                spawn_local(async move { socket.write_all(b"hi there").await.unwrap() });
            });
            let mut io = connect(&server, &worker, None, Passthrough::default()).await.unwrap().io;
            let mut answer = Vec::new();
            let end = io.read_to_end(&mut answer).await.unwrap_err();
            assert_eq!((answer.as_slice(), end.kind()), (&b"hi there"[..], io::ErrorKind::ConnectionReset));
        })
        .await;
}

/// Connects for a stream that came through `hops` internal listeners.
async fn chain(server: &TestServer, hops: u32) -> Result<(), String> {
    let held = RefCell::new(Vec::new());
    let (worker, _) = worker_with_listener(server, "inner", move |socket| held.borrow_mut().push(socket));
    let downstream = server.stream(Address::internal_client(), Address::internal("outer", ""));
    downstream.internal_hops.set(hops);
    let outcome = connect(server, &worker, Some(&downstream), Passthrough::default()).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "current_thread")]
async fn a_connection_through_too_many_listeners_is_refused_and_counted() {
    let layer = Layer {
        name: "test".into(),
        admin: false,
        values: [("underpass.max_internal_hops".to_owned(), Value::Number(5.0))].into(),
    };
    let server = TestServer::with_runtime(vec![layer]);
    LocalSet::new()
        .run_until(async {
            chain(&server, 4).await.unwrap();
            assert_eq!(server.find_stat("listener.inner.internal_hop_limit"), None);
            let refused = chain(&server, 5).await.unwrap_err();
            assert_eq!(
                refused,
                "immediate connect error: Internal hop limit|remote address:envoy://inner/ep1"
            );
            assert_eq!(server.counter("listener.inner.internal_hop_limit"), 1);
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn envoy_has_no_such_limit() {
    let server = TestServer::compatible();
    LocalSet::new().run_until(async { chain(&server, 1000).await.unwrap() }).await;
}
