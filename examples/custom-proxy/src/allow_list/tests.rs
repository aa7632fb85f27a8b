//! The filter, read and built as the engine would, on connections that nobody accepted.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    address::Address,
    testing,
    testing::TestServer,
    user_space_socket::{PairOptions, pair},
};

use super::*;

const TYPE: &str = "'@type': type.googleapis.com/example.allow_list.v1.AllowList";

/// Ends the chain: says hello.
struct Hello;

impl NetworkFilter for Hello {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move { connection.io.write_all(b"hello").await.map_err(ConnectionError::Downstream) })
    }
}

/// The filter, built as the engine would, and the end of its chain.
fn chain(server: &TestServer, config: &str) -> [Arc<dyn NetworkFilter>; 2] {
    let config = testing::read::<dyn NetworkFilterConfig>(&format!("{TYPE}\n{config}")).unwrap();
    let filter = server.build("listener.test", |context| config.build(context)).unwrap();
    [filter, Arc::new(Hello)]
}

/// What a client from this address gets to read.
fn visit(server: &TestServer, chain: &[Arc<dyn NetworkFilter>], remote: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut client, io) = pair(PairOptions::new(Address::internal("test", "")));
        // Like a client that has said everything: what follows is the answer and the end.
        client.shutdown().await.unwrap();
        let worker = server.worker();
        let local = Address::Socket("127.0.0.1:10000".parse().unwrap());
        let remote = Address::Socket(remote.parse().unwrap());
        let connection = server.connection(&worker, Box::new(io), remote, local);
        Next::new(chain).run(connection).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    })
}

#[test]
fn a_listed_address_comes_in_and_another_does_not() {
    let server = TestServer::default();
    let chain = chain(&server, "stat_prefix: door\nranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]");
    assert_eq!(visit(&server, &chain, "10.1.2.3:5000"), "hello");
    assert_eq!(visit(&server, &chain, "192.0.2.1:5000"), "");
    assert_eq!(server.counter("allow_list.door.allowed"), 1);
    assert_eq!(server.counter("allow_list.door.denied"), 1);
}

#[test]
fn an_empty_list_is_an_error_that_names_the_field() {
    let config = testing::read::<dyn NetworkFilterConfig>(&format!("{TYPE}\nstat_prefix: door")).unwrap();
    let refused =
        TestServer::default().build("listener.test", |context| config.build(context)).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "ranges: is empty, so that nobody could come in; name at least one range"
    );
}

#[test]
fn a_misspelt_field_is_found_without_any_code_for_it() {
    let report = testing::read::<dyn NetworkFilterConfig>(&format!("{TYPE}\nstat_prefix: door\nrangs: []"))
        .unwrap_err();
    assert_eq!(report, "test.yaml:3:1: error: rangs: unknown field \"rangs\"; did you mean `ranges`?");
}
