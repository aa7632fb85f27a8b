//! `underpass demo`: the seed's configuration with an echo server behind it, bytes through both listeners, and the
//! counters of every hop.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use super::{PATIENCE, Proxy, explain, get, say};

const CONFIG: &str = include_str!("../../../examples/configs/seed.yaml");
/// The ports of the seed's configuration.
const LISTENER: &str = "127.0.0.1:19000";
const UPSTREAM: &str = "127.0.0.1:19001";
const PAYLOAD: usize = 1 << 20;

pub(super) fn demonstrate() -> io::Result<()> {
    let upstream = TcpListener::bind(UPSTREAM)
        .map_err(|error| explain(&format!("cannot listen on {UPSTREAM}"), &error))?;
    thread::spawn(move || {
        upstream.incoming().flatten().for_each(|stream| drop(thread::spawn(move || echo(stream))));
    });

    let proxy = Proxy::start(CONFIG)?;
    say!("client -> {LISTENER} (outbound_tcp_svc_19000)");
    say!("       -> envoy://singleton_internal_encap/ (an internal listener: no kernel socket)");
    say!("       -> {UPSTREAM} (an echo server of this demonstration)\n");
    let started = Instant::now();
    let came_back = round_trip()?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    say!("sent {PAYLOAD} bytes; {came_back} came back unchanged, in {milliseconds:.1} ms\n");

    say!("what each hop counted:");
    let stats = get(proxy.admin, "/stats?usedonly&filter=_(cx_total|cx_rx_bytes_total|cx_tx_bytes_total)$")?;
    for line in stats.lines().filter(|line| !line.contains("admin") && !line.contains("worker_")) {
        say!("  {line}");
    }
    Ok(())
}

/// Sends the payload while it reads; how many bytes came back as they were sent.
fn round_trip() -> io::Result<usize> {
    let payload: Vec<u8> = (0..PAYLOAD).map(|at| (at.wrapping_mul(31) >> 3).to_le_bytes()[0]).collect();
    let mut reader = TcpStream::connect(LISTENER)?;
    reader.set_read_timeout(Some(PATIENCE))?;
    let (mut writer, sent) = (reader.try_clone()?, payload.clone());
    let sender = thread::spawn(move || {
        writer.write_all(&sent)?;
        writer.shutdown(Shutdown::Write)
    });
    let mut came_back = Vec::with_capacity(PAYLOAD);
    reader.read_to_end(&mut came_back)?;
    sender.join().map_err(|_| io::Error::other("the sender panicked"))??;
    if came_back != payload {
        return Err(io::Error::other(format!(
            "{} bytes came back, and not those that were sent",
            came_back.len()
        )));
    }
    Ok(came_back.len())
}

fn echo(mut stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    // A client that goes away ends its echo, and that is all.
    let _ = io::copy(&mut stream, &mut writer);
    let _ = writer.shutdown(Shutdown::Write);
}
