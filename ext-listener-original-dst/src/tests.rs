use std::rc::Rc;

use underpass_core::{
    config::{Struct, Value},
    filter_state::{Entry, LifeSpan, SharedWithUpstream, object_factory},
    stream_info::SharedStreamInfo,
    testing::{self, TestServer},
    user_space_socket::{PairOptions, pair},
};

use super::*;

const NAMESPACE: &str = "envoy.filters.listener.original_dst";
const LOCAL: &str = "envoy.filters.listener.original_dst.local_ip";
const REMOTE: &str = "envoy.filters.listener.original_dst.remote_ip";

fn filter() -> Arc<dyn ListenerFilter> {
    let yaml = "'@type': type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
    let config = testing::read::<dyn ListenerFilterConfig>(yaml).unwrap();
    TestServer::default().build("", |context| config.build(context)).unwrap()
}

/// An internal connection that came with this metadata (key `local`) and this filter state, after the filter saw it.
async fn internal(metadata: Option<Value>, state: &[(&str, &str)]) -> SharedStreamInfo {
    let server = TestServer::default();
    let (_client, io) = pair(PairOptions::new(Address::internal("inner", "ep1")));
    let info = server.stream(Address::internal_client(), Address::internal("inner", "ep1"));
    if let Some(value) = metadata {
        let values = Struct::from_iter([("local".to_owned(), value)]);
        info.dynamic_metadata.borrow_mut().set(NAMESPACE, values);
    }
    for (name, text) in state {
        let entry = Entry {
            object: (object_factory(name).unwrap().create)(text).unwrap(),
            read_only: true,
            life_span: LifeSpan::Connection,
            shared_with_upstream: SharedWithUpstream::Once,
        };
        info.filter_state.borrow_mut().set(*name, entry).unwrap();
    }
    let mut socket = AcceptedSocket { io: Box::new(io), info: Rc::clone(&info), worker: server.worker() };
    filter().inspect(&mut socket).await.unwrap();
    info
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

/// The cases are those that Envoy 1.40 was seen to decide this way.
#[tokio::test]
async fn an_internal_connection_goes_where_metadata_or_else_filter_state_says() {
    const HERE: &str = "envoy://inner/ep1";
    let both = [(LOCAL, "9.9.9.9:99"), (REMOTE, "8.8.8.8:88")];
    for (metadata, state, local) in [
        (None, &[][..], HERE),
        (Some(text("1.1.1.1:11")), &[], "1.1.1.1:11"),
        (Some(text("[::1]:11")), &[], "[::1]:11"),
        (None, &both, "9.9.9.9:99"),
        (Some(text("1.1.1.1:11")), &both, "1.1.1.1:11"),
        (Some(text("nonsense")), &both, HERE),
        (Some(text("1.1.1.1")), &[], HERE),
        (Some(Value::Number(5.0)), &[], HERE),
        (Some(Value::Number(5.0)), &both, "9.9.9.9:99"),
    ] {
        let info = internal(metadata.clone(), state).await;
        let addresses = info.addresses.borrow();
        assert_eq!(addresses.local().to_string(), local, "{metadata:?} {state:?}");
        assert_eq!(info.local_address_restored.get(), local != HERE, "{metadata:?} {state:?}");
        let remote = if state.is_empty() { "envoy://internal_client_address/" } else { "8.8.8.8:88" };
        assert_eq!(addresses.remote().to_string(), remote);
        assert_eq!(addresses.direct_local().to_string(), HERE);
        assert_eq!(addresses.direct_remote().to_string(), "envoy://internal_client_address/");
    }
}

#[tokio::test]
async fn only_the_source_may_be_given() {
    let info = internal(None, &[(REMOTE, "[3::4]:0")]).await;
    let addresses = info.addresses.borrow();
    assert_eq!(
        (addresses.remote().to_string().as_str(), addresses.local().to_string().as_str()),
        ("[3::4]:0", "envoy://inner/ep1")
    );
    assert!(!info.local_address_restored.get());
}

#[test]
fn a_text_that_is_no_address_makes_no_object() {
    for name in [LOCAL, REMOTE] {
        let error = (object_factory(name).unwrap().create)("somewhere").unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r#""somewhere" is no IP address with a port, such as 10.1.2.3:80 or [::1]:80"#);
        }
    }
}

/// Nothing redirects here, so the kernel has nothing to say, or, where connections are tracked, the address that is
/// there already.
#[tokio::test]
async fn a_connection_that_was_not_redirected_keeps_its_address() {
    let (client, mut socket) = TestServer::default().accept().await.unwrap();
    let before = socket.info.addresses.borrow().clone();
    filter().inspect(&mut socket).await.unwrap();
    let after = socket.info.addresses.borrow();
    assert_eq!(after.local(), before.local());
    assert_eq!(after.remote(), &Address::from(client.local_addr().unwrap()));
}

/// Transparent sockets need a privilege; without it there is nothing to see.
#[tokio::test]
async fn a_transparent_socket_has_the_address_that_was_meant() {
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    if let Err(error) = listener.set_ip_transparent_v4(true) {
        eprintln!("skipped, since transparent sockets are not allowed here: {error}");
        return;
    }
    let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
    listener.bind(&anywhere.into()).unwrap();
    listener.listen(1).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener.into()).unwrap();
    let local = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(local), listener.accept());
    let (io, remote) = accepted.unwrap();
    let server = TestServer::default();
    let info = server.stream(remote.into(), local.into());
    let mut socket = AcceptedSocket { io: Box::new(io), info, worker: server.worker() };
    filter().inspect(&mut socket).await.unwrap();
    assert!(socket.info.local_address_restored.get());
    assert_eq!(*socket.info.addresses.borrow().local(), Address::from(client.unwrap().peer_addr().unwrap()));
}

/// Metadata and filter state are for internal connections; a TCP client cannot be made to look like another by them.
#[tokio::test]
async fn a_tcp_connection_ignores_what_is_for_internal_ones() {
    let (_client, mut socket) = TestServer::default().accept().await.unwrap();
    let before = socket.info.addresses.borrow().clone();
    let values = Struct::from_iter([("local".to_owned(), text("1.1.1.1:11"))]);
    socket.info.dynamic_metadata.borrow_mut().set(NAMESPACE, values);
    filter().inspect(&mut socket).await.unwrap();
    assert_eq!(socket.info.addresses.borrow().local(), before.local());
}
