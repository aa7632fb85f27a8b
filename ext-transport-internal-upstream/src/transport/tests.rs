//! What connections to hosts and clusters with and without metadata hand over.

use std::{collections::BTreeMap, rc::Rc};

use underpass_core::{
    address::Address,
    cluster::{ClusterInfo, Host},
    config::{Metadata, Value},
    filter_state::{Entry, HashableString, LifeSpan, SharedWithUpstream, StringObject},
    stream_info::{Passthrough, SharedStreamInfo},
    testing::{self, TestServer},
    transport_socket::UpstreamTransportSocketConfig,
    user_space_socket::{PairOptions, pair},
};
use underpass_ext_transport_raw_buffer as _;

use super::*;

const TYPE: &str = "'@type': type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.\
                    InternalUpstreamTransport";
const RAW_BUFFER: &str = "transport_socket: {name: raw, typed_config: {'@type': \
                          type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}";

fn build_with(server: &TestServer, fields: &str) -> Result<Arc<dyn UpstreamTransportSocket>, String> {
    let yaml = format!("{TYPE}\n{fields}");
    let config = testing::read::<dyn UpstreamTransportSocketConfig>(&yaml)?;
    server
        .build("cluster.c", |context| context.build(&config, UpstreamTransportSocketConfig::build))
        .map_err(|error| error.to_string())
}

/// A transport socket that hands over these (name, kind).
fn build(server: &TestServer, sources: &[(&str, &str)]) -> Result<Arc<dyn UpstreamTransportSocket>, String> {
    let sources: Vec<_> =
        sources.iter().map(|(name, kind)| format!("{{name: {name}, kind: {{{kind}: {{}}}}}}")).collect();
    build_with(server, &format!("passthrough_metadata: [{}]\n{RAW_BUFFER}", sources.join(", ")))
}

/// Metadata with one namespace that says where it is from.
fn metadata(namespace: &str, from: &str) -> Metadata {
    let values: BTreeMap<_, _> = [("from".to_owned(), Value::String(from.to_owned()))].into();
    Metadata { filter_metadata: [(namespace.to_owned(), Struct(values))].into(), ..Metadata::default() }
}

fn downstream(server: &TestServer) -> SharedStreamInfo {
    server.stream(Address::internal_client(), Address::internal("outer", ""))
}

/// What is handed over on a connection to a host and a cluster with this metadata.
fn handed_over(
    server: &TestServer,
    transport: &dyn UpstreamTransportSocket,
    host: Metadata,
    cluster: Metadata,
    downstream: Option<&SharedStreamInfo>,
) -> Passthrough {
    let address = Address::internal("inner", "");
    let mut context = ConnectContext {
        worker: &server.worker(),
        cluster: &Arc::new(ClusterInfo { metadata: cluster, ..ClusterInfo::new("c", &server.context.stats) }),
        host: &Arc::new(Host { metadata: Arc::new(host), ..Host::new(1, address.clone()) }),
        address: &address,
        downstream: downstream.map(|info| &**info),
        passthrough: Passthrough::default(),
        reads_at_once: false,
    };
    transport.prepare(&mut context);
    context.passthrough
}

fn from<'p>(passthrough: &'p Passthrough, namespace: &str) -> Option<&'p str> {
    passthrough.metadata.get(namespace, &["from"])?.as_str()
}

fn share(info: &SharedStreamInfo, name: &str, shared_with_upstream: SharedWithUpstream) {
    let entry = Entry {
        object: Rc::new(StringObject(name.into())),
        read_only: false,
        life_span: LifeSpan::Connection,
        shared_with_upstream,
    };
    info.filter_state.borrow_mut().set(name, entry).unwrap();
}

const NO_METADATA: &str = "cluster.c.internal_upstream.no_metadata";

#[test]
fn metadata_of_host_and_cluster_is_handed_over() {
    let server = TestServer::default();
    let transport = build(&server, &[("h", "host"), ("c", "cluster")]).unwrap();
    let handed = handed_over(&server, &*transport, metadata("h", "host"), metadata("c", "cluster"), None);
    assert_eq!((from(&handed, "h"), from(&handed, "c")), (Some("host"), Some("cluster")));
    assert_eq!(server.find_stat(NO_METADATA), Some(0));
}

#[test]
fn each_missing_key_is_counted_and_nothing_fails() {
    let server = TestServer::default();
    let transport =
        build(&server, &[("h", "host"), ("c", "cluster"), ("r", "request"), ("x", "route")]).unwrap();
    assert_eq!(server.find_stat(NO_METADATA), Some(0), "the counter exists from the start");
    let handed = handed_over(&server, &*transport, Metadata::default(), metadata("c", "cluster"), None);
    assert_eq!(handed.metadata.iter().count(), 1);
    assert_eq!(server.counter(NO_METADATA), 3);
}

#[test]
fn of_two_sources_of_one_name_the_latter_that_is_there_wins() {
    let server = TestServer::default();
    let transport = build(&server, &[("k", "host"), ("k", "cluster")]).unwrap();
    let both = handed_over(&server, &*transport, metadata("k", "host"), metadata("k", "cluster"), None);
    assert_eq!(from(&both, "k"), Some("cluster"));
    let one = handed_over(&server, &*transport, metadata("k", "host"), Metadata::default(), None);
    assert_eq!(from(&one, "k"), Some("host"));
}

#[test]
fn dynamic_metadata_of_the_stream_is_the_request_kind() {
    let server = TestServer::default();
    let transport = build(&server, &[("k", "request")]).unwrap();
    let info = downstream(&server);
    info.dynamic_metadata.borrow_mut().merge("k", metadata("k", "request").filter_metadata["k"].clone());
    let handed = handed_over(&server, &*transport, Metadata::default(), Metadata::default(), Some(&info));
    assert_eq!(from(&handed, "k"), Some("request"));
    assert_eq!(server.counter(NO_METADATA), 0);
}

#[test]
fn metadata_of_the_route_is_the_route_kind() {
    let server = TestServer::default();
    let transport = build(&server, &[("k", "route")]).unwrap();
    let info = downstream(&server);
    *info.details.route_metadata.borrow_mut() = Some(Arc::new(metadata("k", "route")));
    let handed = handed_over(&server, &*transport, Metadata::default(), Metadata::default(), Some(&info));
    assert_eq!(from(&handed, "k"), Some("route"));
    assert_eq!(server.counter(NO_METADATA), 0);
}

#[test]
fn all_filter_state_that_is_shared_with_upstream_is_handed_over() {
    let server = TestServer::default();
    let transport = build(&server, &[]).unwrap();
    let info = downstream(&server);
    share(&info, "own", SharedWithUpstream::None);
    share(&info, "once", SharedWithUpstream::Once);
    share(&info, "always", SharedWithUpstream::Transitive);
    let handed = handed_over(&server, &*transport, Metadata::default(), Metadata::default(), Some(&info));
    let names: Vec<_> = handed.filter_state.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["always", "once"]);
}

#[test]
fn shared_hashable_state_keeps_pooled_connections_apart() {
    let server = TestServer::default();
    let transport = build(&server, &[]).unwrap();
    let key = |value: &str, shared_with_upstream| {
        let info = downstream(&server);
        let object = Rc::new(HashableString(value.into()));
        let entry = Entry { object, read_only: false, life_span: LifeSpan::Connection, shared_with_upstream };
        info.filter_state.borrow_mut().set("k", entry).unwrap();
        share(&info, "plain", SharedWithUpstream::Once);
        let mut key = Vec::new();
        transport.extend_pool_key(&info.filter_state.borrow(), &mut key);
        key
    };
    assert_eq!(key("a", SharedWithUpstream::Once), key("a", SharedWithUpstream::Transitive));
    assert_ne!(key("a", SharedWithUpstream::Once), key("b", SharedWithUpstream::Once));
    assert!(key("a", SharedWithUpstream::None).is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn the_bytes_are_left_to_the_wrapped_transport_socket() {
    let server = TestServer::default();
    let transport = build(&server, &[]).unwrap();
    let address = Address::internal("inner", "");
    let (client, _server) = pair(PairOptions::new(address.clone()));
    let context = ConnectContext {
        worker: &server.worker(),
        cluster: &Arc::new(ClusterInfo::new("c", &server.context.stats)),
        host: &Arc::new(Host::new(1, address.clone())),
        address: &address,
        downstream: None,
        passthrough: Passthrough::default(),
        reads_at_once: false,
    };
    let mut io = transport.wrap(Box::new(client), &context).await.unwrap();
    assert!(io.user_space_socket().is_some());
}

#[test]
fn envoy_knows_only_the_kinds_host_and_cluster() {
    let server = TestServer::compatible();
    build(&server, &[("k", "host"), ("k", "cluster")]).unwrap();
    let refused = |kind| build(&server, &[("k", kind)]).err().unwrap();
    insta::assert_snapshot!(refused("route"), @"passthrough_metadata[0].kind: metadata type is not supported: route {}; Envoy knows host and cluster");
    insta::assert_snapshot!(refused("request"), @"passthrough_metadata[0].kind: metadata type is not supported: request {}; Envoy knows host and cluster");
}

#[test]
fn what_envoy_refuses_is_refused() {
    let server = TestServer::default();
    let refused = |fields: &str| build_with(&server, fields).err().unwrap();
    insta::assert_snapshot!(refused("passthrough_metadata: []"), @"test.yaml:1:1: error: `transport_socket` is missing");
    insta::assert_snapshot!(refused(&format!("passthrough_metadata: [{{kind: {{host: {{}}}}}}]\n{RAW_BUFFER}")), @"test.yaml:2:24: error: passthrough_metadata[0]: `name` is missing");
    insta::assert_snapshot!(refused(&format!("passthrough_metadata: [{{name: a}}]\n{RAW_BUFFER}")), @"test.yaml:2:24: error: passthrough_metadata[0]: `kind` is missing");
    insta::assert_snapshot!(refused(&format!("passthrough_filter_state_objects: []\n{RAW_BUFFER}")), @r#"test.yaml:2:1: error: passthrough_filter_state_objects: unknown field "passthrough_filter_state_objects"; known: passthrough_metadata, transport_socket"#);
}
