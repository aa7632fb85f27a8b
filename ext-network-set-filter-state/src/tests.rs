//! What the filter leaves on connections.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    address::Address,
    filter_state::{Entry, HashableString, SharedWithUpstream, StringObject},
    stream_info::SharedStreamInfo,
    testing::{self, TestServer},
    user_space_socket::{PairOptions, UserSpaceSocket, pair},
};

use super::*;

fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn NetworkFilter>, String> {
    let yaml = format!(
        "'@type': type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config\n{fields}"
    );
    let config = testing::read::<dyn NetworkFilterConfig>(&yaml)?;
    server.build("", |context| config.build(context)).map_err(|error| error.to_string())
}

fn connection(server: &TestServer) -> (UserSpaceSocket, Connection) {
    let local = Address::internal("outer", "ep");
    let (client, accepted) = pair(PairOptions::new(local.clone()));
    (client, server.connection(&server.worker(), Box::new(accepted), Address::internal_client(), local))
}

/// What is known of a connection that the filter has passed on.
async fn passed(fields: &str) -> SharedStreamInfo {
    let server = TestServer::default();
    let filter = build(&server, fields).unwrap();
    let (_client, connection) = connection(&server);
    let info = Rc::clone(&connection.info);
    filter.serve(connection, Next::new(&[])).await.unwrap();
    info
}

fn text(info: &StreamInfo, name: &str) -> Option<String> {
    info.filter_state.borrow().get(name).and_then(|object| object.serialize_as_string())
}

fn entry(info: &StreamInfo, name: &str) -> Entry {
    let state = info.filter_state.borrow();
    state.iter().find(|(key, _)| &***key == name).map(|(_, entry)| entry.clone()).unwrap()
}

/// A value with this object key, format, and further fields.
fn value(key: &str, format: &str, fields: &str) -> String {
    format!(
        "{{object_key: {key}, format_string: {{text_format_source: {{inline_string: '{format}'}}}}, {fields}}}"
    )
}

#[tokio::test(flavor = "current_thread")]
async fn the_value_is_formatted_and_made_by_the_factory() {
    let address = value("address", "to %DOWNSTREAM_LOCAL_ADDRESS%", "factory_key: envoy.string");
    let hashable =
        value("hashable", "h", "factory_key: envoy.hashable_string, shared_with_upstream: TRANSITIVE");
    let info = passed(&format!("on_new_connection: [{address}, {hashable}]")).await;
    assert_eq!(text(&info, "address").as_deref(), Some("to envoy://outer/ep"));
    assert!(info.filter_state.borrow().get_as::<StringObject>("address").is_some());
    assert!(info.filter_state.borrow().get_as::<HashableString>("hashable").is_some());
    assert_eq!(entry(&info, "address").shared_with_upstream, SharedWithUpstream::None);
    assert_eq!(entry(&info, "hashable").shared_with_upstream, SharedWithUpstream::Transitive);
    assert_eq!(entry(&info, "hashable").life_span, LifeSpan::Connection);
}

#[tokio::test(flavor = "current_thread")]
async fn a_well_known_key_is_its_own_factory() {
    let info = passed(&format!("on_new_connection: [{}]", value("envoy.string", "v", ""))).await;
    assert_eq!(text(&info, "envoy.string").as_deref(), Some("v"));
}

#[tokio::test(flavor = "current_thread")]
async fn the_last_value_of_a_name_wins_even_over_read_only_ones() {
    let values = [
        value("k", "one", "factory_key: envoy.string, read_only: true"),
        value("k", "two", "factory_key: envoy.string"),
    ];
    let info = passed(&format!("on_new_connection: [{}]", values.join(", "))).await;
    assert_eq!(text(&info, "k").as_deref(), Some("two"));
}

#[tokio::test(flavor = "current_thread")]
async fn empty_values_may_be_skipped_and_useless_ones_are() {
    let values = [
        value("dash", "%REQUESTED_SERVER_NAME%", "factory_key: envoy.string, skip_if_empty: true"),
        value("empty", "", "factory_key: envoy.string"),
        value("skipped", "", "factory_key: envoy.string, skip_if_empty: true"),
        value("useless", "neither", "factory_key: envoy.bool"),
    ];
    let info = passed(&format!("on_new_connection: [{}]", values.join(", "))).await;
    assert_eq!(text(&info, "dash").as_deref(), Some("-"), "an absent value prints as a dash");
    assert_eq!(text(&info, "empty").as_deref(), Some(""));
    assert_eq!((text(&info, "skipped"), text(&info, "useless")), (None, None));
}

#[tokio::test(flavor = "current_thread")]
async fn a_handshake_that_is_not_needed_is_done() {
    let info =
        passed(&format!("on_downstream_tls_handshake: [{}]", value("k", "v", "factory_key: envoy.string")))
            .await;
    assert_eq!(text(&info, "k").as_deref(), Some("v"));
}

/// The rest of a chain: reads one byte and checks what is known before and after.
struct ReadsOne;

impl NetworkFilter for ReadsOne {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            assert_eq!(text(&connection.info, "k"), None);
            assert!(connection.io.user_space_socket().is_none(), "bytes could pass by unnoticed");
            connection.io.read_exact(&mut [0; 1]).await.unwrap();
            assert_eq!(text(&connection.info, "k").as_deref(), Some("v"));
            assert!(connection.io.user_space_socket().is_some(), "the wrapper stays in the way");
            Ok(())
        })
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_value_may_wait_for_the_first_data() {
    let server = TestServer::default();
    let fields = format!("on_downstream_data: [{}]", value("k", "v", "factory_key: envoy.string"));
    let filter = build(&server, &fields).unwrap();
    let (mut client, connection) = connection(&server);
    client.write_all(b"x").await.unwrap();
    filter.serve(connection, Next::new(&[Arc::new(ReadsOne)])).await.unwrap();
}

#[test]
fn what_envoy_refuses_is_refused() {
    let refused = |value: &str| {
        build(&TestServer::default(), &format!("on_new_connection: [{value}]")).err().unwrap_or_default()
    };
    insta::assert_snapshot!(refused(&value("my", "v", "")), @"on_new_connection[0].object_key: 'my' does not have an object factory; set factory_key to one of envoy.bool, envoy.hashable_string, envoy.string");
    insta::assert_snapshot!(refused(&value("my", "v", "factory_key: no.such")), @"on_new_connection[0].factory_key: 'no.such' does not have an object factory; set factory_key to one of envoy.bool, envoy.hashable_string, envoy.string");
    insta::assert_snapshot!(refused("{factory_key: envoy.string, format_string: {text_format_source: {inline_string: a}}}"), @"test.yaml:2:21: error: on_new_connection[0]: `object_key` is missing");
    insta::assert_snapshot!(refused("{object_key: a, factory_key: envoy.string}"), @"test.yaml:2:21: error: on_new_connection[0]: `format_string` is missing");
    insta::assert_snapshot!(refused(&value("my", "%NOPE%", "factory_key: envoy.string")), @"on_new_connection[0].format_string: Not supported field in StreamInfo: NOPE (at position 0 of `%NOPE%`)");
    insta::assert_snapshot!(refused(&value("my", "v", "factory_key: envoy.string, shared_with_upstream: TWICE")), @"test.yaml:2:146: error: on_new_connection[0].shared_with_upstream: unknown value `TWICE`; possible: NONE, ONCE, TRANSITIVE");
}
