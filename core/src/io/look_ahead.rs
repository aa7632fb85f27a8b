//! Looking ahead in a stream that somebody else holds.

use std::io::{self, ErrorKind};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BoxIo, Io, Prefixed};

/// A [`Prefixed`] over a borrowed stream, for listener filters.
///
/// When it is dropped, the place it borrowed holds a stream that begins with the bytes that were read ahead and not
/// consumed. That is so at an early return and at a timeout as well, so no byte can get lost.
///
/// ```
/// # use underpass_core::io::{BoxIo, LookAhead};
/// async fn starts_with_a_brace(io: &mut BoxIo) -> std::io::Result<bool> {
///     let mut stream = LookAhead::new(io);
///     stream.fill(1).await?;
///     Ok(stream.buffered().starts_with(b"{"))
/// }
/// ```
pub struct LookAhead<'a> {
    place: &'a mut BoxIo,
    stream: Prefixed,
}

impl<'a> LookAhead<'a> {
    /// Borrows the stream in `place`.
    pub fn new(place: &'a mut BoxIo) -> Self {
        let stream = Prefixed::new(mem::replace(place, Box::new(Nothing)));
        Self { place, stream }
    }
}

impl Deref for LookAhead<'_> {
    type Target = Prefixed;

    fn deref(&self) -> &Prefixed {
        &self.stream
    }
}

impl DerefMut for LookAhead<'_> {
    fn deref_mut(&mut self) -> &mut Prefixed {
        &mut self.stream
    }
}

impl Drop for LookAhead<'_> {
    fn drop(&mut self) {
        let stream = mem::replace(&mut self.stream, Prefixed::new(Box::new(Nothing)));
        *self.place = stream.into_io();
    }
}

/// What stands where a stream was taken from. Nobody gets to see it.
struct Nothing;

impl AsyncRead for Nothing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(ErrorKind::NotConnected.into()))
    }
}

impl AsyncWrite for Nothing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(ErrorKind::NotConnected.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(ErrorKind::NotConnected.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(ErrorKind::NotConnected.into()))
    }
}

impl Io for Nothing {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::address::Address;
    use crate::user_space_socket::{PairOptions, UserSpaceSocket, pair};

    async fn stream_with(bytes: &[u8]) -> (UserSpaceSocket, BoxIo) {
        let (mut client, server) = pair(PairOptions::new(Address::internal("inner", "")));
        client.write_all(bytes).await.unwrap();
        (client, Box::new(server))
    }

    async fn rest(mut client: UserSpaceSocket, mut io: BoxIo) -> String {
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again_and_what_was_consumed_is_not() {
        let (client, mut io) = stream_with(b"header body").await;
        let mut ahead = LookAhead::new(&mut io);
        assert_eq!(ahead.fill(9).await.unwrap(), 9);
        assert_eq!(ahead.buffered(), b"header bo");
        ahead.consume(7);
        drop(ahead);
        assert_eq!(rest(client, io).await, "body");
    }

    #[tokio::test]
    async fn nothing_is_left_between_when_nothing_was_kept() {
        let (_client, mut io) = stream_with(b"x").await;
        let mut ahead = LookAhead::new(&mut io);
        ahead.fill(1).await.unwrap();
        ahead.consume(1);
        drop(ahead);
        assert!(io.user_space_socket().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_loses_no_byte() {
        let (client, mut io) = stream_with(b"half a hea").await;
        let look = async {
            let mut ahead = LookAhead::new(&mut io);
            while ahead.buffered().len() < 100 {
                ahead.fill(100).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(1), look).await.unwrap_err();
        assert_eq!(rest(client, io).await, "half a hea");
    }
}
