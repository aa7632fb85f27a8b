//! Filters, a transport socket and an access logger that are just enough to see what the listener manager does.

use std::{path::Path, sync::Arc};

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use underpass_core::{
    access_log::{AccessLogSink, AccessLogger, AccessLoggerConfig},
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    formatter::FormatContext,
    io::BoxIo,
    listener_filter::{AcceptedSocket, ListenerFilter, ListenerFilterConfig, ListenerFilterError},
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
    stream_info::SharedStreamInfo,
    transport_socket::{DownstreamTransportSocket, DownstreamTransportSocketConfig, TransportError},
};

/// Sends a text first, then back what it receives. `{local}` and the like become facts of the connection.
#[derive(Debug, Clone, Deserialize)]
struct Say {
    text: String,
}

/// Says something, then echoes.
#[extension(name = "test.say", type_url = "type.googleapis.com/test.Say")]
impl NetworkFilterConfig for Say {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl NetworkFilter for Say {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            let text = facts(&self.text, &connection);
            connection.io.write_all(text.as_bytes()).await.map_err(ConnectionError::Downstream)?;
            let mut buffer = [0; 256];
            loop {
                let n = connection.io.read(&mut buffer).await.map_err(ConnectionError::Downstream)?;
                if n == 0 {
                    return connection.io.shutdown().await.map_err(ConnectionError::Downstream);
                }
                connection.io.write_all(&buffer[..n]).await.map_err(ConnectionError::Downstream)?;
            }
        })
    }
}

fn facts(text: &str, connection: &Connection) -> String {
    let addresses = connection.info.addresses.borrow();
    let metadata = connection.info.dynamic_metadata.borrow();
    let passed = metadata.get("test", &["passed"]).and_then(|value| value.as_str()).unwrap_or("-");
    text.replace("{local}", &addresses.local().to_string())
        .replace("{remote_ip}", &addresses.remote().without_port())
        .replace("{worker}", &connection.worker.index().to_string())
        .replace("{chain}", connection.info.filter_chain_name.borrow().as_deref().unwrap_or("-"))
        .replace("{hops}", &connection.info.internal_hops.get().to_string())
        .replace("{limit}", &connection.buffer_limit.to_string())
        .replace("{passed}", passed)
}

/// Passes everything on.
#[derive(Debug, Clone, Deserialize)]
struct Pass {}

/// Does nothing, and is not terminal.
#[extension(name = "test.pass", type_url = "type.googleapis.com/test.Pass")]
impl NetworkFilterConfig for Pass {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl NetworkFilter for Pass {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        next.run(connection)
    }
}

/// Panics when it has read a byte.
#[derive(Debug, Clone, Deserialize)]
struct Panic {}

/// A filter with a bug.
#[extension(name = "test.panic", type_url = "type.googleapis.com/test.Panic")]
impl NetworkFilterConfig for Panic {
    fn is_terminal(&self) -> bool {
        true
    }

    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl NetworkFilter for Panic {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        _: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        Box::pin(async move {
            let _ = connection.io.read_u8().await;
            // Not through the hook, which would print a trace.
            std::panic::resume_unwind(Box::new("a toy panics".to_owned()));
        })
    }
}

/// What a listener filter finds out, without looking.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Inspect {
    /// Waits for a byte, which it swallows.
    wait_for_byte: bool,
    /// The server name the client asked for.
    server_name: String,
    /// Turns everybody away.
    refuse: bool,
}

/// Finds out things about a connection that are in its configuration.
#[extension(name = "test.inspect", type_url = "type.googleapis.com/test.Inspect")]
impl ListenerFilterConfig for Inspect {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl ListenerFilter for Inspect {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        Box::pin(async move {
            if self.wait_for_byte {
                socket.io.read_u8().await?;
            }
            *socket.info.details.requested_server_name.borrow_mut() = Some(self.server_name.as_str().into());
            if self.refuse { Err(ListenerFilterError::Rejected("go away".into())) } else { Ok(()) }
        })
    }
}

/// The destination that [`OriginalDst`] restores.
pub(super) const RESTORED: &str = "127.0.0.1:4711";

/// Stands for the real filter, which asks the kernel.
#[derive(Debug, Clone, Deserialize)]
struct OriginalDst {}

/// Restores always the same destination.
#[extension(
    name = "test.original_dst",
    type_url = "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
)]
impl ListenerFilterConfig for OriginalDst {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn ListenerFilter>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl ListenerFilter for OriginalDst {
    fn inspect<'a>(
        &'a self,
        socket: &'a mut AcceptedSocket,
    ) -> BoxFuture<'a, Result<(), ListenerFilterError>> {
        Box::pin(async move {
            let address = RESTORED.parse::<std::net::SocketAddr>().unwrap();
            socket.info.addresses.borrow_mut().set_local(address.into());
            socket.info.local_address_restored.set(true);
            Ok(())
        })
    }
}

/// A transport socket whose handshake is one byte.
#[derive(Debug, Clone, Deserialize)]
struct Handshake {}

/// Waits for a byte.
#[extension(name = "test.handshake", type_url = "type.googleapis.com/test.Handshake")]
impl DownstreamTransportSocketConfig for Handshake {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn DownstreamTransportSocket>, BuildError> {
        Ok(Arc::new(self.clone()))
    }
}

impl DownstreamTransportSocket for Handshake {
    fn accept<'a>(
        &'a self,
        mut io: BoxIo,
        _: &'a SharedStreamInfo,
    ) -> BoxFuture<'a, Result<BoxIo, TransportError>> {
        Box::pin(async move {
            match io.read_u8().await {
                Ok(b'!') => Ok(io),
                _ => Err(TransportError("bad_handshake".into())),
            }
        })
    }
}

/// Writes flags, details and chain.
#[derive(Debug, Clone, Deserialize)]
struct Log {}

/// A log of connections.
#[extension(name = "test.log", type_url = "type.googleapis.com/test.Log")]
impl AccessLoggerConfig for Log {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn AccessLogger>, BuildError> {
        let sink = context.server.access_logs.open(Path::new("x"));
        Ok(Arc::new(LogTo(sink.map_err(|error| BuildError::new(error.to_string()))?)))
    }
}

struct LogTo(Arc<dyn AccessLogSink>);

impl AccessLogger for LogTo {
    fn log(&self, context: &FormatContext<'_>) {
        let info = context.info;
        let details = info.details.response_code_details.borrow();
        let failure = info.details.downstream_transport_failure_reason.borrow();
        self.0.write(format!(
            "flags={} details={} failure={}",
            info.flags.get(),
            details.as_deref().unwrap_or("-"),
            failure.as_deref().unwrap_or("-"),
        ));
    }
}
