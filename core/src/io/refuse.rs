//! Closing a stream that nobody serves.

use std::task::{Context, Waker};

use tokio::io::ReadBuf;

use super::BoxIo;

/// Closes a stream that nobody serves. A client that has said something sees a reset.
///
/// That is what the kernel does when a socket is closed with bytes in it that nobody has read; here it happens as well
/// when a listener filter has read them ahead. Otherwise the client would take its refusal for an orderly end.
pub fn refuse(mut io: BoxIo) {
    let mut first = [0];
    let mut first = ReadBuf::new(&mut first);
    let peeked = io.poll_peek(&mut Context::from_waker(Waker::noop()), &mut first);
    if peeked.is_ready() && !first.filled().is_empty() {
        io.reset();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::io::LookAhead;

    /// How a client that sends this sees its end, after `ahead` bytes of it were read ahead.
    async fn end_of(sent: &[u8], ahead: usize) -> Option<ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut io: BoxIo = Box::new(listener.accept().await.unwrap().0);
        client.write_all(sent).await.unwrap();
        if ahead > 0 {
            LookAhead::new(&mut io).fill(ahead).await.unwrap();
        }
        refuse(io);
        client.read(&mut [0]).await.err().map(|error| error.kind())
    }

    #[tokio::test]
    async fn who_said_something_sees_a_reset() {
        assert_eq!(end_of(b"", 0).await, None);
        assert_eq!(end_of(b"unwanted", 100).await, Some(ErrorKind::ConnectionReset));
        assert_eq!(end_of(b"unwanted", 2).await, Some(ErrorKind::ConnectionReset));
    }
}
