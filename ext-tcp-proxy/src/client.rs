//! The client while there is no upstream connection yet: whether it is still there, and what it sends already.

use std::{future::poll_fn, io};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, Interest};
use underpass_core::io::{BoxIo, Io, KernelSocket};

use crate::traffic::DownstreamTraffic;

/// How much is read ahead at once.
const READ: usize = 16 * 1024;

/// What a client sends before there is an upstream connection, as far as that is wanted.
///
/// Usually it is not: the bytes then stay in the socket, and a client that cannot be connected sees by a reset that they
/// were not taken.
pub(crate) struct EarlyData {
    /// Whether a client's reset is noticed before there is an upstream connection.
    notices_reset: bool,
    /// From how many bytes on no more are read, if any are read at all.
    limit: Option<usize>,
    bytes: BytesMut,
    has_read: bool,
    has_ended: bool,
}

impl EarlyData {
    pub(crate) fn new(limit: Option<usize>, notices_reset: bool) -> Self {
        Self { limit, notices_reset, bytes: BytesMut::new(), has_read: false, has_ended: false }
    }

    /// What was read, for the upstream connection. The end of the stream is read again by the relay.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes.freeze()
    }

    /// Waits for the first byte. A client that ends its stream without one is not worth a connection: as in Envoy, it has
    /// to go, or its time to be up, before anything happens.
    ///
    /// # Errors
    /// How the client went away.
    pub(crate) async fn first_byte(
        &mut self,
        client: &mut BoxIo,
        traffic: &DownstreamTraffic,
    ) -> io::Result<()> {
        while self.bytes.is_empty() {
            if self.has_ended {
                return Err(gone(client).await);
            }
            self.read(client, traffic).await?;
        }
        Ok(())
    }

    /// Reads ahead as far as is wanted, and waits until the client is gone. That it has only finished sending does not
    /// count: it may wait for an answer.
    pub(crate) async fn until_gone(&mut self, client: &mut BoxIo, traffic: &DownstreamTraffic) -> io::Error {
        while self.wants_more() {
            if let Err(error) = self.read(client, traffic).await {
                return error;
            }
        }
        if !self.notices_reset {
            std::future::pending::<()>().await;
        }
        gone(client).await
    }

    fn wants_more(&self) -> bool {
        // With a limit of zero, Envoy reads once.
        let room = self.limit.is_some_and(|limit| !self.has_read || self.bytes.len() < limit);
        room && !self.has_ended
    }

    async fn read(&mut self, client: &mut BoxIo, traffic: &DownstreamTraffic) -> io::Result<()> {
        self.bytes.reserve(READ);
        let read = client.read_buf(&mut bytes::BufMut::limit(&mut self.bytes, READ)).await?;
        self.has_read = true;
        self.has_ended = read == 0;
        traffic.read_early(read as u64);
        Ok(())
    }
}

/// Waits until the client is gone for good, without taking a byte from it.
///
/// A kernel socket tells by EPOLLERR, which a reset raises and a half-close does not. Bytes that a listener filter has read
/// ahead hide the kernel socket; the client's disappearance is then noticed when it is read from.
async fn gone(client: &mut BoxIo) -> io::Error {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    if let Some(KernelSocket::Tcp(socket)) = client.kernel_socket() {
        return match socket.ready(Interest::ERROR).await {
            Ok(_) => socket.take_error().ok().flatten().unwrap_or_else(reset),
            Err(error) => error,
        };
    }
    poll_fn(|cx| client.poll_peer_gone(cx)).await;
    reset()
}
