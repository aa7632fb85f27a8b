//! How sockets are opened: unix sockets, source addresses, options, several addresses, transport sockets.

use std::os::{fd::AsFd, linux::net::SocketAddrExt, unix::net as unix};

use socket2::SockRef;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    extension,
    io::BoxIo,
    transport_socket::{TransportError, UpstreamTransportSocket, UpstreamTransportSocketConfig},
};

use super::*;

fn pipe(path: &str) -> String {
    format!("{{address: {{pipe: {{path: \"{path}\"}}}}}}")
}

async fn open(test: &TestManager) -> Result<underpass_core::cluster::UpstreamConnection, PoolFailure> {
    LocalSet::new().run_until(async { open_tcp(&test.worker(), "up").await }).await
}

#[tokio::test]
async fn unix_sockets_are_connected_to_by_path_or_abstract_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket").display().to_string();
    let name = format!("underpass-test-{}", std::process::id());
    let _by_path = unix::UnixListener::bind(&path).unwrap();
    let address = unix::SocketAddr::from_abstract_name(&name).unwrap();
    let _by_name = unix::UnixListener::bind_addr(&address).unwrap();
    for address in [path, format!("@{name}")] {
        let test = TestManager::new();
        test.add(&cluster(&[pipe(&address)], "")).unwrap();
        assert_eq!(open(&test).await.unwrap().remote_address.to_string(), address);
    }
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_fails_at_once() {
    let test = TestManager::new();
    test.add(&cluster(&[pipe("/nonexistent/socket")], "")).unwrap();
    let words = "immediate_connect_error:_No_such_file_or_directory|remote_address:/nonexistent/socket";
    assert_eq!(told(open(&test).await), (PoolFailureReason::RemoteConnectionFailure, Some(words.to_owned())));
}

#[tokio::test]
async fn a_source_address_that_is_not_ours_is_a_fault_of_this_side() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    let bind = "upstream_bind_config: {source_address: {address: 192.0.2.7, port_value: 0}}";
    test.add(&cluster(&[socket(address)], bind)).unwrap();
    let words = "failed_to_bind_to_192.0.2.7:0:_Cannot_assign_requested_address".to_owned();
    assert_eq!(told(open(&test).await), (PoolFailureReason::LocalConnectionFailure, Some(words)));
    insta::assert_snapshot!(test.counted("up"), @"
    bind_errors: 1
    upstream_cx_connect_fail: 1
    upstream_cx_destroy: 1
    upstream_cx_destroy_local: 1
    upstream_cx_total: 1
    upstream_rq_pending_failure_eject: 1
    upstream_rq_pending_total: 1
    ");
}

#[tokio::test]
async fn connections_come_from_the_source_address_of_their_ip_version() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    let bind = "upstream_bind_config:
  source_address: {address: \"::1\", port_value: 0}
  extra_source_addresses: [{address: {address: 127.0.0.9, port_value: 0}}]";
    test.add(&cluster(&[socket(address)], bind)).unwrap();
    let local = open(&test).await.unwrap().local_address.unwrap();
    assert_eq!(local.without_port(), "127.0.0.9");
}

#[tokio::test]
async fn a_source_address_means_nothing_to_unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket").display().to_string();
    let _listener = unix::UnixListener::bind(&path).unwrap();
    let test = TestManager::new();
    let bind = "upstream_bind_config: {source_address: {address: 192.0.2.7, port_value: 0}}";
    test.add(&cluster(&[pipe(&path)], bind)).unwrap();
    assert!(open(&test).await.is_ok());
}

#[tokio::test]
async fn sockets_get_the_options_of_the_cluster() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    let options = "
upstream_connection_options: {tcp_keepalive: {keepalive_time: 77, keepalive_interval: 11, keepalive_probes: 3}}
upstream_bind_config: {socket_options: [{level: 0, name: 1, int_value: 32}]}"; // IPPROTO_IP, IP_TOS
    test.add(&cluster(&[socket(address)], options)).unwrap();
    let connection = open(&test).await.unwrap();
    let kernel_socket = connection.io.kernel_socket().unwrap();
    let fd = kernel_socket.as_fd();
    let socket = SockRef::from(&fd);
    assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 77);
    assert_eq!(socket.tcp_keepalive_interval().unwrap().as_secs(), 11);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    assert_eq!(socket.tos_v4().unwrap(), 32);
}

#[tokio::test]
async fn another_address_of_the_host_is_tried_when_the_first_fails() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    let endpoint =
        socket(nobody().await).replacen('{', &format!("{{additional_addresses: [{}], ", socket(address)), 1);
    test.add(&cluster(&[endpoint], "")).unwrap();
    let connection = open(&test).await.unwrap();
    assert_eq!(connection.remote_address.socket(), Some(address));
    assert_ne!(connection.host.address.socket(), Some(address));
    assert_eq!(test.server.stat("cluster.up.upstream_cx_total"), 2, "Envoy counts both attempts");
    assert_eq!(test.server.stat("cluster.up.upstream_cx_connect_fail"), 0);
}

#[test]
fn source_addresses_are_checked() {
    let refused = |bind: &str| {
        let test = TestManager::new();
        test.add(&format!("name: c\nupstream_bind_config:\n{bind}")).unwrap_err()
    };
    insta::assert_snapshot!(refused("  source_address: {address: localhost, port_value: 0}"), @"clusters[0].upstream_bind_config.source_address.address: malformed IP address: localhost");
    let extra = "  extra_source_addresses: [{address: {address: 127.0.0.2, port_value: 0}}]";
    insta::assert_snapshot!(refused(extra), @"clusters[0].upstream_bind_config.extra_source_addresses: Cluster c's upstream binding config has extra source addresses but no source_address. Extra addresses cannot be specified if source_address is not set");
    insta::assert_snapshot!(refused(&format!("  source_address: {{address: 127.0.0.1, port_value: 0}}\n{extra}")), @"clusters[0].upstream_bind_config.extra_source_addresses: Cluster c's upstream binding config has two same IP version source addresses. Only two different IP version source addresses can be supported");
    insta::assert_snapshot!(refused("  socket_options: [{level: 999, name: 1, int_value: 1}]").split(';').next().unwrap(), @"clusters[0].upstream_bind_config.socket_options[0]: socket option level 999 name 1 is not implemented by Underpass");
}

/// A transport socket that says hello, or fails.
#[derive(Debug, serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Greeting {
    fail: bool,
}

/// For these tests.
#[extension(name = "test.greeting", type_url = "type.googleapis.com/underpass.test.cluster.Greeting")]
impl UpstreamTransportSocketConfig for Greeting {
    fn build(&self, _context: &BuildContext<'_>) -> Result<Arc<dyn UpstreamTransportSocket>, BuildError> {
        Ok(Arc::new(Self { fail: self.fail }))
    }
}

impl UpstreamTransportSocket for Greeting {
    fn prepare(&self, context: &mut ConnectContext<'_>) {
        context.passthrough.internal_hops = 7;
    }

    fn wrap<'a>(
        &'a self,
        mut io: BoxIo,
        context: &'a ConnectContext<'a>,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        assert_eq!(context.passthrough.internal_hops, 7, "prepare comes before wrap");
        Box::pin(async move {
            if self.fail {
                return Err(TransportError("no common language".to_owned()));
            }
            io.write_all(b"hello").await.map_err(|error| TransportError(error.to_string()))?;
            Ok(io)
        })
    }
}

fn greeting(fail: bool) -> String {
    let url = "type.googleapis.com/underpass.test.cluster.Greeting";
    format!("transport_socket: {{name: x, typed_config: {{\"@type\": {url}, fail: {fail}}}}}")
}

#[tokio::test]
async fn the_transport_socket_wraps_what_was_connected() {
    let (listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], &greeting(false))).unwrap();
    let _connection = open(&test).await.unwrap();
    let mut word = [0; 5];
    listener.accept().await.unwrap().0.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
}

#[tokio::test]
async fn a_transport_socket_that_fails_is_a_failed_connection() {
    let (_listener, address) = listener().await;
    let test = TestManager::new();
    test.add(&cluster(&[socket(address)], &greeting(true))).unwrap();
    let words = Some("no_common_language".to_owned());
    assert_eq!(told(open(&test).await), (PoolFailureReason::RemoteConnectionFailure, words));
    assert_eq!(test.server.stat("cluster.up.upstream_cx_connect_fail"), 1);
}
