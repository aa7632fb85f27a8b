//! Bytes that tell where they are, so that lost, doubled and swapped ones are noticed.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::LazyLock,
    thread,
};

/// A prime, so that no power of two that a buffer may have divides it.
const PERIOD: usize = 1_048_573;

static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| random.u8(..)).take(PERIOD).collect()
});

/// What follows a position: up to a quarter of a megabyte.
fn after(position: usize) -> &'static [u8] {
    let start = position % PERIOD;
    &PATTERN[start..PERIOD.min(start + (1 << 18))]
}

/// Sends that many bytes; how many were taken before the other side refused more.
pub fn send(stream: &mut impl Write, total: usize) -> usize {
    let mut position = 0;
    while position < total {
        let bytes = after(position);
        let bytes = &bytes[..bytes.len().min(total - position)];
        match stream.write(bytes) {
            Ok(count @ 1..) => position += count,
            Ok(0) | Err(_) => break,
        }
    }
    position
}

/// Reads to the end and asserts that what comes is what [`send`] sent; how many bytes came.
#[track_caller]
pub fn receive(stream: &mut impl Read) -> usize {
    let (mut buffer, mut position) = (vec![0; 1 << 18], 0);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let expected = after(position);
            let length = expected.len().min(rest.len());
            assert!(rest[..length] == expected[..length], "wrong bytes behind {position}");
            (position, rest) = (position + length, &rest[length..]);
        }
    }
    position
}

/// Sends that many bytes, finishes, and reads at the same time what comes back; how many bytes that were.
#[track_caller]
pub fn exchange(mut stream: TcpStream, total: usize) -> usize {
    let mut writer = stream.try_clone().expect("a descriptor for the other direction");
    let sender = thread::spawn(move || {
        let sent = send(&mut writer, total);
        // The other side may have ended the connection.
        let _ = writer.shutdown(Shutdown::Write);
        sent
    });
    let received = receive(&mut stream);
    assert_eq!(sender.join().expect("sending does not panic"), total, "all was sent");
    received
}
