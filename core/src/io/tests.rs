use std::cell::RefCell;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::address::Address;
use crate::user_space_socket::{PairOptions, pair};

/// A connected pair of kernel sockets.
async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn peek(io: &mut dyn Io, max: usize) -> io::Result<Vec<u8>> {
    let mut memory = vec![0; max];
    let mut buf = ReadBuf::new(&mut memory);
    std::future::poll_fn(|cx| io.poll_peek(cx, &mut buf)).await?;
    Ok(buf.filled().to_vec())
}

/// Notes how it was written to.
#[derive(Default)]
struct Notes(Rc<RefCell<Vec<&'static str>>>);

impl AsyncRead for Notes {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Notes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().push("plain");
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().push("vectored");
        Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io for Notes {}

#[tokio::test]
async fn vectored_writes_survive_boxes_and_prefixes() {
    let notes = Notes::default();
    let seen = Rc::clone(&notes.0);
    let inner: BoxIo = Box::new(notes);
    let mut io: BoxIo = Box::new(Prefixed::new(inner));
    assert!(io.is_write_vectored());
    let n = io.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"c")]).await.unwrap();
    assert_eq!((n, &*seen.borrow()), (3, &vec!["vectored"]));
}

#[tokio::test]
async fn what_a_stream_cannot_do_is_refused() {
    let mut io: BoxIo = Box::<Notes>::default();
    assert_eq!(peek(&mut io, 8).await.unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert!(!io.lends_bytes() && !io.takes_bytes());
    assert!(io.kernel_socket().is_none() && io.user_space_socket().is_none());
    let lent = std::future::poll_fn(|cx| io.poll_read_bytes(cx, 8)).await;
    assert_eq!(lent.unwrap_err().kind(), io::ErrorKind::Unsupported);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    assert!(!io.splices());
    assert_eq!(splice_in(&mut io, &writer, 1).await.unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!(splice_out(&mut io, &reader, 1).await.unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[tokio::test]
async fn owned_bytes_can_be_written_to_any_stream() {
    let (client, mut server) = tcp_pair().await;
    let mut io: BoxIo = Box::new(client);
    let mut bytes = Bytes::from_static(b"hello");
    while !bytes.is_empty() {
        std::future::poll_fn(|cx| io.poll_write_bytes(cx, &mut bytes)).await.unwrap();
    }
    let mut seen = [0; 5];
    server.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"hello");
}

#[tokio::test]
async fn a_reset_tcp_connection_ends_in_rst() {
    let (client, mut server) = tcp_pair().await;
    let mut io: BoxIo = Box::new(client);
    io.reset();
    drop(io);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_tcp_connection_ends_in_order() {
    let (client, mut server) = tcp_pair().await;
    drop(Box::new(client) as BoxIo);
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn peeking_at_kernel_sockets_leaves_the_bytes() {
    let (tcp_client, tcp_server) = tcp_pair().await;
    let (unix_client, unix_server) = UnixStream::pair().unwrap();
    let pairs: [(BoxIo, BoxIo); 2] =
        [(Box::new(tcp_client), Box::new(tcp_server)), (Box::new(unix_client), Box::new(unix_server))];
    for (mut client, mut server) in pairs {
        assert_eq!(peek(&mut server, 0).await.unwrap(), b"");
        let waits = tokio::select! {
            biased;
            _ = peek(&mut server, 8) => false,
            () = tokio::task::yield_now() => true,
        };
        assert!(waits, "there is nothing to peek at");
        client.write_all(b"hello").await.unwrap();
        assert_eq!(peek(&mut server, 3).await.unwrap(), b"hel");
        assert_eq!(peek(&mut server, 100).await.unwrap(), b"hello", "it does not wait for a full buffer");
        let mut seen = [0; 5];
        server.read_exact(&mut seen).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(peek(&mut server, 8).await.unwrap(), b"", "the end of the stream");
    }
}

#[tokio::test]
async fn kernel_sockets_are_lent() {
    let (tcp, _peer) = tcp_pair().await;
    let (unix, _other) = UnixStream::pair().unwrap();
    assert!(matches!(tcp.kernel_socket(), Some(KernelSocket::Tcp(_))));
    assert!(matches!(unix.kernel_socket(), Some(KernelSocket::Unix(_))));
    let lent = tcp.kernel_socket().unwrap();
    assert_eq!(rustix::net::getsockname(lent.as_fd()).unwrap(), tcp.local_addr().unwrap().into());
}

async fn splice_in(io: &mut BoxIo, pipe: &OwnedFd, max: usize) -> io::Result<usize> {
    std::future::poll_fn(|cx| io.poll_splice_in(cx, pipe.as_fd(), max)).await
}

async fn splice_out(io: &mut BoxIo, pipe: &OwnedFd, len: usize) -> io::Result<usize> {
    std::future::poll_fn(|cx| io.poll_splice_out(cx, pipe.as_fd(), len)).await
}

#[tokio::test]
async fn bytes_pass_through_a_pipe_between_kernel_sockets() {
    let (tcp_client, tcp_server) = tcp_pair().await;
    let (unix_client, unix_server) = UnixStream::pair().unwrap();
    let pairs: [(BoxIo, BoxIo); 2] =
        [(Box::new(tcp_client), Box::new(tcp_server)), (Box::new(unix_client), Box::new(unix_server))];
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    for (mut client, mut server) in pairs {
        assert!(client.splices());
        let (moved, written) = tokio::join!(splice_in(&mut server, &writer, 4), client.write_all(b"hello"));
        written.unwrap();
        assert_eq!(moved.unwrap(), 4);
        assert_eq!(splice_out(&mut server, &reader, 4).await.unwrap(), 4, "it is sent back");
        let mut seen = [0; 4];
        client.read_exact(&mut seen).await.unwrap();
        assert_eq!(&seen, b"hell");
        client.shutdown().await.unwrap();
        assert_eq!(splice_in(&mut server, &writer, 100).await.unwrap(), 1);
        assert_eq!(splice_in(&mut server, &writer, 100).await.unwrap(), 0, "the end of the stream");
        let mut rest = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut rest).unwrap(), 1);
    }
}

#[tokio::test]
async fn splicing_waits_while_a_socket_takes_nothing() {
    const LEN: usize = 64 * 1024 * 1024;
    let (client, mut server) = tcp_pair().await;
    let mut client: BoxIo = Box::new(client);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let send = async {
        for _ in 0..LEN / 4096 {
            rustix::io::write(&writer, &[1; 4096]).unwrap();
            let mut left = 4096;
            while left > 0 {
                left -= splice_out(&mut client, &reader, left).await.unwrap();
            }
        }
        client.shutdown().await.unwrap();
    };
    // The sender goes first, and has to wait for whoever takes its turn after it.
    let mut nowhere = tokio::io::sink();
    let receive = tokio::io::copy(&mut server, &mut nowhere);
    let ((), received) = tokio::join!(send, receive);
    assert_eq!(received.unwrap(), LEN as u64);
}

#[tokio::test]
async fn a_reset_is_what_splicing_reports() {
    let (mut client, server) = tcp_pair().await;
    let mut server: BoxIo = Box::new(server);
    Io::reset(&mut client);
    drop(client);
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let error = splice_in(&mut server, &writer, 100).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_the_kernel_cannot_splice_is_unsupported() {
    let (mut client, server) = tcp_pair().await;
    let mut server: BoxIo = Box::new(server);
    client.write_all(b"kept").await.unwrap();
    let no_pipe = OwnedFd::from(std::fs::File::options().write(true).open("/dev/null").unwrap());
    let error = splice_in(&mut server, &no_pipe, 100).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert_eq!(peek(&mut server, 8).await.unwrap(), b"kept");
}

#[tokio::test]
async fn a_prefix_is_read_before_the_stream() {
    let (mut client, server) = tcp_pair().await;
    client.write_all(b" world").await.unwrap();
    client.shutdown().await.unwrap();
    let mut io = Prefixed::with_prefix(BytesMut::from("hello"), Box::new(server));
    let mut first = [0; 2];
    io.read_exact(&mut first).await.unwrap();
    assert_eq!(peek(&mut io, 10).await.unwrap(), b"llo");
    let mut rest = String::new();
    io.read_to_string(&mut rest).await.unwrap();
    assert_eq!((&first, rest.as_str()), (b"he", "llo world"));
}

/// What a TLS inspector does: it looks at more and more of the stream, and whoever comes after it reads all of it.
#[tokio::test]
async fn an_inspector_waits_for_more_without_taking_anything() {
    let (mut client, server) = tcp_pair().await;
    let mut io = Prefixed::new(Box::new(server));
    client.write_all(b"half").await.unwrap();
    assert_eq!(io.fill(1000).await.unwrap(), 4);
    let (filled, written) = tokio::join!(io.fill(3), client.write_all(b"-other"));
    written.unwrap();
    assert_eq!(filled.unwrap(), 3);
    assert_eq!(io.buffered(), b"half-ot");
    client.shutdown().await.unwrap();
    let mut all = String::new();
    io.into_io().read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "half-other");
}

/// What a PROXY protocol filter does: it takes its header off the stream and disappears.
#[tokio::test]
async fn a_consumed_prefix_gives_the_stream_back() {
    let (mut client, server) = tcp_pair().await;
    client.write_all(b"HEADER").await.unwrap();
    client.shutdown().await.unwrap();
    let mut io = Prefixed::new(Box::new(server));
    while io.buffered().len() < 6 {
        assert!(io.fill(6 - io.buffered().len()).await.unwrap() > 0);
    }
    assert!(io.kernel_socket().is_none() && !io.splices(), "the kernel socket is not the whole stream");
    io.consume(6);
    assert!(io.kernel_socket().is_some() && io.splices());
    assert_eq!(io.fill(10).await.unwrap(), 0, "the end of the stream");
    let (prefix, _) = io.into_parts();
    assert_eq!(prefix.capacity(), 0, "the buffer was freed");
}

#[tokio::test]
async fn a_prefix_hides_the_pair_only_while_it_has_bytes() {
    let (client, mut server) = pair(PairOptions::new(Address::internal("inner", "")));
    server.write_all(b"later").await.unwrap();
    let mut io = Prefixed::with_prefix(BytesMut::from("now"), Box::new(client));
    assert!(io.user_space_socket().is_none() && io.lends_bytes() && io.takes_bytes());
    let lend = async |io: &mut Prefixed| std::future::poll_fn(|cx| io.poll_read_bytes(cx, 2)).await.unwrap();
    assert_eq!(lend(&mut io).await, b"no"[..]);
    assert_eq!(lend(&mut io).await, b"w"[..]);
    assert!(io.user_space_socket().is_some());
    assert_eq!(lend(&mut io).await, b"la"[..]);
}

#[tokio::test]
async fn a_reset_goes_through_a_prefix() {
    let (client, mut server) = pair(PairOptions::new(Address::internal("inner", "")));
    let mut io: BoxIo = Box::new(Prefixed::with_prefix(BytesMut::from("unread"), Box::new(client)));
    io.shutdown().await.unwrap();
    io.reset();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(std::future::poll_fn(|cx| Poll::Ready(server.poll_peer_gone(cx))).await.is_ready());
}
