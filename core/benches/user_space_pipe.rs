//! The socket pair inside the process: what a message costs that crosses an internal hop unfused.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on shall say so and end")]

use std::{future::poll_fn, hint::black_box};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{Builder, LocalOptions, LocalRuntime},
};
use underpass_core::{
    address::Address,
    io::Io as _,
    user_space_socket::{PairOptions, UserSpaceSocket, pair},
};

const SIZES: [usize; 2] = [1024, 64 * 1024];

/// What a worker runs on.
fn runtime() -> LocalRuntime {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime")
}

fn both() -> (UserSpaceSocket, UserSpaceSocket) {
    pair(PairOptions::new(Address::internal("inner", "")))
}

/// A message is written at one end and read at the other, copied twice.
fn copied(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/write and read");
    for size in SIZES {
        let (mut client, mut server) = both();
        let (message, mut target) = (vec![7; size], vec![0; size]);
        let runtime = runtime();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    client.write_all(&message).await?;
                    server.read_exact(&mut target).await
                })
            });
        });
    }
}

/// The same memory goes in at one end and comes out at the other.
fn handed_over(c: &mut Criterion) {
    let mut group = c.benchmark_group("pipe/hand over bytes");
    for size in SIZES {
        let (mut client, mut server) = both();
        let message = Bytes::from(vec![7; size]);
        let runtime = runtime();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let mut bytes = message.clone();
                    poll_fn(|cx| client.poll_write_bytes(cx, &mut bytes)).await?;
                    poll_fn(|cx| server.poll_read_bytes(cx, size)).await
                })
            });
        });
    }
}

/// Two tasks that wake each other: a byte there and back.
fn ping_pong(c: &mut Criterion) {
    let runtime = runtime();
    let (mut client, mut server) = both();
    runtime.spawn_local(async move {
        while let Ok(byte) = server.read_u8().await {
            if server.write_u8(byte).await.is_err() {
                break;
            }
        }
    });
    c.bench_function("pipe/ping-pong between tasks", |b| {
        b.iter(|| {
            runtime.block_on(async {
                client.write_u8(1).await?;
                client.read_u8().await
            })
        });
    });
}

/// A pair is made, and both ends are dropped: what a hop costs a connection at least.
fn made(c: &mut Criterion) {
    let address = Address::internal("inner", "");
    c.bench_function("pipe/make and drop", |b| b.iter(|| black_box(pair(PairOptions::new(address.clone())))));
}

criterion_group!(benches, copied, handed_over, ping_pong, made);
criterion_main!(benches);
