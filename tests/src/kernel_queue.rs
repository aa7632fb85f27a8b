//! What the kernel holds of TCP connections: sent and not yet acknowledged, received and not yet read.

use std::fs;

/// The bytes that the kernel holds of all connections to one of these ports of this machine, at both ends.
#[track_caller]
pub fn held_by_kernel(ports: &[u16]) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel lists its connections");
    table.lines().skip(1).map(|line| held_by_socket(line, ports).expect("a line of proc_net_tcp(5)")).sum()
}

/// What one line of the list says; nothing, unless the socket is connected to or from one of the ports.
fn held_by_socket(line: &str, ports: &[u16]) -> Option<u64> {
    const LISTEN: &str = "0A";
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (port(columns.next()?)?, port(columns.next()?)?);
    let (state, queues) = (columns.next()?, columns.next()?);
    if state == LISTEN || !ports.contains(&local) && !ports.contains(&remote) {
        return Some(0);
    }
    let (sent, received) = queues.split_once(':')?;
    Some(u64::from_str_radix(sent, 16).ok()? + u64::from_str_radix(received, 16).ok()?)
}

fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.split_once(':')?.1, 16).ok()
}
