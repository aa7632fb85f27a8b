//! A relay between two connections, and chains of relays, over user-space sockets and over loopback.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on shall say so and end")]

use std::{io, rc::Rc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions, LocalRuntime},
};
use underpass_core::{
    address::Address,
    io::BoxIo,
    relay::{BufferPool, RelayCounts, RelayOptions, relay},
    user_space_socket::{PairOptions, pair},
};

const REQUEST: usize = 1024;
const BULK: usize = 1024 * 1024;

/// Something connected: one end for the peer that the benchmark plays, the other for a relay.
type Wire = (BoxIo, BoxIo);

/// The way of the bytes, from the client through relays to the server.
#[derive(Clone, Copy)]
enum Way {
    /// User-space sockets on both sides of one relay.
    UserSpace,
    /// Loopback on both sides, and as many user-space hops between relays as is said.
    Loopback { internal_hops: usize },
}

impl Way {
    const ALL: [Self; 4] = [
        Self::UserSpace,
        Self::Loopback { internal_hops: 0 },
        Self::Loopback { internal_hops: 1 },
        Self::Loopback { internal_hops: 5 },
    ];

    fn name(self) -> String {
        match self {
            Self::UserSpace => "user space".to_owned(),
            Self::Loopback { internal_hops } => format!("loopback, {internal_hops} internal hops"),
        }
    }

    async fn wire(self) -> io::Result<Wire> {
        match self {
            Self::UserSpace => Ok(user_space()),
            Self::Loopback { .. } => loopback().await,
        }
    }

    fn internal_hops(self) -> usize {
        match self {
            Self::UserSpace => 0,
            Self::Loopback { internal_hops } => internal_hops,
        }
    }

    /// Starts the relays; the ends of the client and of the server.
    async fn start(self) -> io::Result<Wire> {
        let pool = BufferPool::default();
        let (client, mut downstream) = self.wire().await?;
        for _ in 0..self.internal_hops() {
            let (client_half, server_half) = user_space();
            spawn_relay(downstream, client_half, pool.clone());
            downstream = server_half;
        }
        let (upstream, server) = self.wire().await?;
        spawn_relay(downstream, upstream, pool);
        Ok((client, server))
    }
}

fn user_space() -> Wire {
    let (client, server) = pair(PairOptions::new(Address::internal("inner", "")));
    (Box::new(client), Box::new(server))
}

async fn loopback() -> io::Result<Wire> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let client = TcpStream::connect(listener.local_addr()?).await?;
    let (server, _) = listener.accept().await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((Box::new(client), Box::new(server)))
}

fn spawn_relay(mut downstream: BoxIo, mut upstream: BoxIo, pool: BufferPool) {
    tokio::task::spawn_local(async move {
        let options = RelayOptions { pool, ..RelayOptions::default() };
        let _ = relay(&mut downstream, &mut upstream, options, Rc::<RelayCounts>::default()).await;
    });
}

/// What a worker runs on.
fn runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime")
}

/// 1 KB to the server, and 1 KB back.
fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay/1 KB request and answer");
    for way in Way::ALL {
        let runtime = runtime();
        let (mut client, mut server) = runtime.block_on(way.start()).expect("a connection");
        let (message, mut target) = ([7; REQUEST], [0; REQUEST]);
        group.bench_function(BenchmarkId::from_parameter(way.name()), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    client.write_all(&message).await?;
                    server.read_exact(&mut target).await?;
                    server.write_all(&message).await?;
                    client.read_exact(&mut target).await
                })
            });
        });
    }
}

/// 1 MB to the server, which reads while the client writes.
fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay/1 MB to the server");
    group.throughput(Throughput::Bytes(BULK as u64));
    for way in Way::ALL {
        let runtime = runtime();
        let (mut client, mut server) = runtime.block_on(way.start()).expect("a connection");
        let (message, mut target) = (vec![7; BULK], vec![0; BULK]);
        group.bench_function(BenchmarkId::from_parameter(way.name()), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    tokio::join!(client.write_all(&message), server.read_exact(&mut target))
                })
            });
        });
    }
}

criterion_group!(benches, requests, bulk);
criterion_main!(benches);
