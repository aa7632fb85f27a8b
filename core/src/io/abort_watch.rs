//! Noticing that a peer aborts while nobody reads what it sends.

use std::{
    future::Future,
    io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

use super::{BoxIo, Io, KernelSocket};

/// Tells when the peer of a stream aborts although the stream is not read, because what it sends has nowhere to go. Without
/// it, whatever was opened on behalf of that peer would stay open until something else ends it.
#[derive(Default)]
pub struct AbortWatch {
    /// A kernel socket tells by an event that a reset raises and a half-close does not. It needs a descriptor of its own,
    /// since the socket's own event for reading is there already: there are bytes that nobody reads.
    kernel: Option<Pin<Box<dyn Future<Output = ()>>>>,
    aborted: bool,
}

impl AbortWatch {
    /// Waits until the peer of `io` has aborted; it has to be the same stream each time. Where that cannot be told, it never
    /// comes.
    pub fn poll(&mut self, io: &mut BoxIo, cx: &mut Context<'_>) -> Poll<()> {
        self.aborted = self.aborted || io.poll_aborted(cx).is_ready();
        if self.aborted {
            return Poll::Ready(());
        }
        if self.kernel.is_none() {
            // Without a descriptor to spare, the end is noticed later.
            self.kernel = io.kernel_socket().and_then(|socket| watch(socket).ok());
        }
        let Some(kernel) = &mut self.kernel else { return Poll::Pending };
        self.aborted = kernel.as_mut().poll(cx).is_ready();
        if self.aborted { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn watch(socket: KernelSocket<'_>) -> io::Result<Pin<Box<dyn Future<Output = ()>>>> {
    let descriptor = socket.as_fd().try_clone_to_owned()?;
    // An error says that the runtime ends, and so does the stream.
    Ok(match socket {
        KernelSocket::Tcp(_) => {
            let socket = TcpStream::from_std(descriptor.into())?;
            Box::pin(async move { drop(socket.ready(Interest::ERROR).await) })
        }
        KernelSocket::Unix(_) => {
            let socket = UnixStream::from_std(descriptor.into())?;
            Box::pin(async move { drop(socket.ready(Interest::ERROR).await) })
        }
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, BoxIo) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Box::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn a_reset_is_noticed_behind_bytes_that_nobody_reads() {
        let (mut client, mut io) = connected().await;
        client.write_all(b"unread").await.unwrap();
        let mut watch = AbortWatch::default();
        let early = poll_fn(|cx| Poll::Ready(watch.poll(&mut io, cx).is_ready())).await;
        assert!(!early);
        client.set_zero_linger().unwrap();
        drop(client);
        tokio::time::timeout(Duration::from_secs(5), poll_fn(|cx| watch.poll(&mut io, cx))).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_finishes_has_not_aborted() {
        let (mut client, mut io) = connected().await;
        client.write_all(b"unread").await.unwrap();
        client.shutdown().await.unwrap();
        let mut watch = AbortWatch::default();
        let waited = tokio::time::timeout(Duration::from_millis(50), poll_fn(|cx| watch.poll(&mut io, cx)));
        assert!(waited.await.is_err());
    }
}
