//! `envoy.filters.network.direct_response`: sends a fixed answer and closes.
//!
//! The answer is read once, when the configuration is built. An empty one, or none, just closes the connection.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/direct_response_filter>

use std::sync::Arc;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::DataSource,
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
};

/// `envoy.extensions.filters.network.direct_response.v3.Config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct DirectResponse {
    /// The answer.
    pub response: Option<DataSource>,
}

/// Sends a fixed answer and closes.
#[extension(
    name = "envoy.filters.network.direct_response",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config"
)]
impl NetworkFilterConfig for DirectResponse {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        let answer = match &self.response {
            Some(source) => source.load().map_err(|error| context.error_at("response", error.to_string()))?,
            None => Vec::new(),
        };
        Ok(Arc::new(DirectResponseFilter { answer }))
    }
}

struct DirectResponseFilter {
    answer: Vec<u8>,
}

impl NetworkFilter for DirectResponseFilter {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            *connection.info.details.response_code_details.borrow_mut() = Some("direct_response".into());
            connection.io.write_all(&self.answer).await.map_err(ConnectionError::Downstream)?;
            connection.io.flush().await.map_err(ConnectionError::Downstream)?;
            connection.info.bytes_sent.set(self.answer.len() as u64);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };
    use underpass_core::{
        stream_info::SharedStreamInfo,
        testing::{self, TestServer},
    };

    use super::*;

    fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn NetworkFilter>, String> {
        let yaml = format!(
            "'@type': type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config\n{fields}"
        );
        let config = testing::read::<dyn NetworkFilterConfig>(&yaml)?;
        server.build("", |context| config.build(context)).map_err(|error| error.to_string())
    }

    /// What a client reads before the connection ends.
    async fn answer_of(fields: &str) -> String {
        let server = TestServer::default();
        let filter = build(&server, fields).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let connection =
            server.connection(&server.worker(), Box::new(accepted), remote.into(), address.into());
        let info = SharedStreamInfo::clone(&connection.info);
        filter.serve(connection, Next::new(&[])).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(info.bytes_sent.get(), answer.len() as u64);
        assert_eq!(info.details.response_code_details.borrow().as_deref(), Some("direct_response"));
        answer
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_client_gets_the_answer_and_the_end() {
        assert_eq!(answer_of("response: {inline_string: hello}").await, "hello");
        assert_eq!(answer_of("response: {inline_bytes: aGk=}").await, "hi");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"from a file").unwrap();
        assert_eq!(
            answer_of(&format!("response: {{filename: {}}}", file.path().display())).await,
            "from a file"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn without_an_answer_the_connection_is_closed() {
        assert_eq!(answer_of("").await, "");
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_of_the_configuration() {
        let refused = build(&TestServer::default(), "response: {filename: /does/not/exist}").err().unwrap();
        insta::assert_snapshot!(refused, @r#"response: cannot read the file "/does/not/exist": No such file or directory (os error 2)"#);
    }
}
