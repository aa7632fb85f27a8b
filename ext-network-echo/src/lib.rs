//! `envoy.filters.network.echo`: sends back what it receives.
//!
//! The end of what a client sends is passed back as well, so a client that finishes sending gets all of it and then the
//! end of the stream.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/echo_filter>

use std::{io, sync::Arc};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
    stream_info::DetectedClose,
};

/// How much is read at once.
const BUFFER: usize = 16 * 1024;

/// `envoy.extensions.filters.network.echo.v3.Echo`; it has no fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Echo {}

/// Sends back what it receives.
#[extension(
    name = "envoy.filters.network.echo",
    type_url = "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"
)]
impl NetworkFilterConfig for Echo {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(EchoFilter))
    }
}

struct EchoFilter;

impl NetworkFilter for EchoFilter {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            let outcome = echo(&mut connection).await;
            if matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::ConnectionReset) {
                connection.info.downstream_detected_close.set(DetectedClose::RemoteReset);
            }
            outcome.map_err(ConnectionError::Downstream)
        })
    }
}

async fn echo(connection: &mut Connection) -> io::Result<()> {
    let Connection { io, info, .. } = connection;
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = io.read(&mut buffer).await?;
        if read == 0 {
            return io.shutdown().await;
        }
        info.bytes_received.set(info.bytes_received.get() + read as u64);
        io.write_all(&buffer[..read]).await?;
        io.flush().await?;
        info.bytes_sent.set(info.bytes_sent.get() + read as u64);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use underpass_core::{
        stream_info::SharedStreamInfo,
        testing::{self, TestServer},
    };

    use super::*;

    /// A client whose connection is served by the filter, what is known of the connection, and the filter's future.
    async fn connected() -> (TcpStream, SharedStreamInfo, impl Future<Output = Result<(), ConnectionError>>) {
        let server = TestServer::default();
        let yaml = "'@type': type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo";
        let config = testing::read::<dyn NetworkFilterConfig>(yaml).unwrap();
        let filter = server.build("", |context| config.build(context)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let (accepted, remote) = listener.accept().await.unwrap();
        let connection =
            server.connection(&server.worker(), Box::new(accepted), remote.into(), address.into());
        let info = SharedStreamInfo::clone(&connection.info);
        (client, info, async move { filter.serve(connection, Next::new(&[])).await })
    }

    #[tokio::test(flavor = "current_thread")]
    async fn everything_comes_back_and_then_the_end() {
        let (mut client, info, served) = connected().await;
        let sent = fill(300_000);
        let exchange = async {
            let (mut reader, mut writer) = client.split();
            let write = async {
                writer.write_all(&sent).await.unwrap();
                writer.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let (read, ()) = tokio::join!(reader.read_to_end(&mut received), write);
            read.unwrap();
            received
        };
        let (outcome, received) = tokio::join!(served, exchange);
        outcome.unwrap();
        assert!(received == sent, "{} bytes of {} came back", received.len(), sent.len());
        assert_eq!((info.bytes_received.get(), info.bytes_sent.get()), (300_000, 300_000));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reset_by_the_client_ends_it_and_is_noted() {
        let (client, info, served) = connected().await;
        client.set_zero_linger().unwrap();
        drop(client);
        let failed = served.await.unwrap_err();
        assert!(matches!(failed, ConnectionError::Downstream(_)), "{failed}");
        assert_eq!(info.downstream_detected_close.get(), DetectedClose::RemoteReset);
    }

    fn fill(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect()
    }
}
