//! Closing a stream that nobody serves.

use std::task::{Context, Waker};

use tokio::io::ReadBuf;

use super::BoxIo;

/// Closes a stream that nobody serves. A client that has said something sees a reset.
///
/// That is what the kernel does when a socket is closed with bytes in it that nobody has read; here it happens as well
/// when a listener filter has read them ahead. Otherwise the client would take its refusal for an orderly end.
pub fn refuse(mut io: BoxIo) {
    // A user-space socket tells by its being dropped; whoever has finished writing into it takes that for a usual end.
    if io.user_space_socket().is_some() {
        return;
    }
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
    use crate::address::Address;
    use crate::io::LookAhead;
    use crate::user_space_socket::{PairOptions, pair};

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
    async fn who_finished_writing_into_a_user_space_socket_sees_a_usual_end() {
        let (mut client, server) = pair(PairOptions::new(Address::internal("inner", "")));
        client.write_all(b"unwanted").await.unwrap();
        client.shutdown().await.unwrap();
        refuse(Box::new(server));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn who_said_something_sees_a_reset() {
        assert_eq!(end_of(b"", 0).await, None);
        assert_eq!(end_of(b"unwanted", 100).await, Some(ErrorKind::ConnectionReset));
        assert_eq!(end_of(b"unwanted", 2).await, Some(ErrorKind::ConnectionReset));
    }
}
