//! The engine with a filter that has a bug: it panics when a client sends `!`.

use std::{
    io,
    pin::Pin,
    process::ExitCode,
    sync::Arc,
    task::{Context, Poll, ready},
};

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass_core::{
    build_context::{BuildContext, BuildError},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    io::{BoxIo, Io},
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
};
use underpass_ext_access_logger_file as _;
use underpass_ext_bootstrap_internal_listener as _;
use underpass_ext_tcp_proxy as _;

/// A filter with a bug.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Panicking {}

#[extension(name = "tests.panicking", type_url = "type.googleapis.com/underpass.tests.Panicking")]
impl NetworkFilterConfig for Panicking {
    fn build(&self, _: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        Ok(Arc::new(PanickingFilter))
    }
}

struct PanickingFilter;

impl NetworkFilter for PanickingFilter {
    fn serve<'a>(
        &'a self,
        mut connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        connection.io = Box::new(Fragile(connection.io));
        next.run(connection)
    }
}

/// A stream that panics in the middle of what reads from it, wherever that is.
struct Fragile(BoxIo);

impl Io for Fragile {}

impl AsyncRead for Fragile {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        assert!(!buffer.filled()[before..].contains(&b'!'), "a client sent what this filter cannot bear");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

fn main() -> ExitCode {
    underpass_server::main()
}
