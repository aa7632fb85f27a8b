//! What clients do: connect, talk, half-close, reset, and see how a connection ends.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use socket2::{Domain, Socket, Type};

use crate::PATIENCE;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer finished sending.
    Eof,
    /// The peer reset the connection.
    Reset,
    /// It is still open after [`PATIENCE`].
    Open,
}

/// Connects; reads give up after [`PATIENCE`].
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    // Not with a timeout: that would ask for errors once more, and might find how the connection ended.
    let stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// Sends and reads back as many bytes.
#[track_caller]
pub fn ask(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).expect("the connection is open");
    read(stream, text.len())
}

/// Reads that many bytes.
#[track_caller]
pub fn read(stream: &mut TcpStream, count: usize) -> String {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).expect("the bytes come");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Connects, says hello and reads that many bytes: what an echo sends back, or what an origin says first.
#[track_caller]
pub fn first_words(address: SocketAddr, count: usize) -> String {
    let mut stream = connect(address);
    stream.write_all(b"hello").expect("the connection is open");
    read(&mut stream, count)
}

/// Reads to the end of the connection.
pub fn read_all(stream: &mut TcpStream) -> (String, End) {
    let mut bytes = Vec::new();
    let end = match stream.read_to_end(&mut bytes) {
        Ok(_) => End::Eof,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => End::Open,
        Err(_) => End::Reset,
    };
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// Reads to the end; how much came.
pub fn drain(stream: &mut TcpStream) -> u64 {
    let mut buffer = vec![0; 65536];
    let mut total = 0;
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        total += count as u64;
    }
    total
}

/// Ends the connection with a reset.
pub fn reset(stream: TcpStream) {
    // A linger time of zero makes close(2) send RST.
    let socket = Socket::from(stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).expect("a TCP socket");
}

/// Connects from an address of this machine.
#[track_caller]
pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of the loopback network");
    socket.connect(&address.into()).expect("somebody listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    socket.into()
}
