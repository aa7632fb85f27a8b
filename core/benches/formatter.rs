//! Lines of access logs: Envoy's default format and a JSON object, for a TCP connection that has ended.

#![expect(clippy::expect_used, reason = "a benchmark that cannot go on shall say so and end")]

use std::{cell::RefCell, net::SocketAddr, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use underpass_core::{
    access_log::AccessLogType,
    address::Address,
    cluster::{ClusterInfo, Host},
    config::{Struct, Value},
    formatter::{FormatContext, LogFormat, Operators},
    stats::Store,
    stream_info::{ListenerInfo, StreamInfo},
};

/// What users of JSON logs ask for.
const JSON: [(&str, &str); 8] = [
    ("start", "%START_TIME%"),
    ("from", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("to", "%UPSTREAM_HOST%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("flags", "%RESPONSE_FLAGS%"),
];

fn address(text: &str) -> Address {
    Address::from(text.parse::<SocketAddr>().expect("an address"))
}

/// A TCP connection that was proxied and has ended.
fn stream() -> StreamInfo {
    let listener = ListenerInfo { name: "outer".into(), ..ListenerInfo::default() };
    let mut info =
        StreamInfo::new(7, Arc::new(listener), address("127.0.0.1:49666"), address("127.0.0.1:29350"))
            .starting_at(Duration::new(1_795_442_613, 433_518_000));
    info.bytes_received.set(5);
    info.bytes_sent.set(6);
    info.completed_after.set(Some(Duration::from_micros(51_586)));
    info.upstream.host = RefCell::new(Some(Arc::new(Host::new(1, address("127.0.0.1:29099")))));
    info.upstream.cluster =
        RefCell::new(Some(Arc::new(ClusterInfo::new("backend", &Store::new(1).scope("")))));
    info
}

fn lines(c: &mut Criterion) {
    let operators = Operators::linked().expect("operators");
    let json: Struct =
        JSON.map(|(key, format)| (key.to_owned(), Value::String(format.to_owned()))).into_iter().collect();
    let formats = [
        ("default of Envoy", LogFormat::default_of_access_logs(&operators).expect("a format")),
        ("JSON with 8 fields", LogFormat::json(&json, false, &operators).expect("a format")),
    ];
    let info = stream();
    let context = FormatContext::new(&info, AccessLogType::TcpConnectionEnd);
    for (name, format) in &formats {
        c.bench_function(&format!("formatter/{name}"), |b| b.iter(|| format.format(&context)));
    }
}

criterion_group!(benches, lines);
criterion_main!(benches);
