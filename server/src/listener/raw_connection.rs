//! A connection of the kernel, as it was accepted.

use std::{io, net, os::unix};

use tokio::net::{TcpStream, UnixStream};
use underpass_core::{address::Address, io::BoxIo};

use super::connection_limit::CountedEverywhere;

/// A connection that a worker accepted.
pub(crate) enum KernelStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection on its way from one worker to another.
#[derive(Debug)]
pub(crate) struct RawConnection {
    stream: RawStream,
    /// This end.
    pub(crate) local: Address,
    /// The peer's end.
    pub(crate) remote: Address,
    /// Keep it counted.
    pub(crate) counted: CountedEverywhere,
}

#[derive(Debug)]
enum RawStream {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl KernelStream {
    /// The bytes.
    pub(crate) fn into_io(self) -> BoxIo {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
        }
    }

    /// Takes the connection off this worker.
    pub(crate) fn detach(
        self,
        local: Address,
        remote: Address,
        counted: CountedEverywhere,
    ) -> io::Result<RawConnection> {
        let stream = match self {
            Self::Tcp(stream) => RawStream::Tcp(stream.into_std()?),
            Self::Unix(stream) => RawStream::Unix(stream.into_std()?),
        };
        Ok(RawConnection { stream, local, remote, counted })
    }
}

impl RawConnection {
    /// Makes it a connection of the calling worker.
    pub(crate) fn attach(self) -> io::Result<(KernelStream, CountedEverywhere)> {
        let stream = match self.stream {
            RawStream::Tcp(stream) => KernelStream::Tcp(TcpStream::from_std(stream)?),
            RawStream::Unix(stream) => KernelStream::Unix(UnixStream::from_std(stream)?),
        };
        Ok((stream, self.counted))
    }
}
