//! `underpass demo connect`: a GET that travels inside a CONNECT, in and out of it in one process, and what each hop says of
//! it.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Instant,
};

use super::{Proxy, exchange, explain, get, say};

const CONFIG: &str = include_str!("../../../examples/configs/tunnelling/get_in_connect.yaml");
/// The ports of that configuration.
const INGRESS: &str = "127.0.0.1:10000";
const ORIGIN: &str = "127.0.0.1:10002";
/// How many hops say something.
const HOPS: usize = 4;
const GREETING: &str = "hello from the origin\n";

pub(super) fn demonstrate() -> io::Result<()> {
    let seen = origin()?;
    let mut proxy = Proxy::start(CONFIG)?;
    say!("GET -> {INGRESS} (ingress: an HTTP connection manager)");
    say!("    -> envoy://encap/ (an internal listener: a tcp_proxy with tunneling_config)");
    say!("    == CONNECT over TCP ==> 127.0.0.1:10001 (terminator: an HTTP connection manager)");
    say!("    -> envoy://decap/ (an internal listener: a second HTTP connection manager)");
    say!("    -> {ORIGIN} (an HTTP server of this demonstration)\n");

    let started = Instant::now();
    let answer = exchange(INGRESS, "GET /hello HTTP/1.1\r\nhost: demo.example\r\nconnection: close\r\n\r\n")?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    say!("the client got, after {milliseconds:.1} ms:");
    indented(&answer);
    if !answer.starts_with("HTTP/1.1 200") || !answer.ends_with(GREETING) {
        return Err(io::Error::other("that is not what the origin answers"));
    }
    say!("\nthe origin saw:");
    indented(&seen.lock().unwrap_or_else(PoisonError::into_inner));
    say!("\nwhat each hop says:");
    for line in first_words(&mut proxy)? {
        say!("  {line}");
    }
    say!("\nwhat was counted of the tunnel:");
    let filter =
        r"^cluster\.proxy\.(upstream_(cx_http2_total|rq_total|cx_[rt]x_bytes_total)|http2\.streams_active)$";
    let stats = get(proxy.admin, &format!("/stats?usedonly&filter={filter}"))?;
    indented(&stats);
    Ok(())
}

fn indented(text: &str) {
    for line in text.lines() {
        say!("  {line}");
    }
}

/// The first line of each hop's access log, in the order of the hops. They begin with a number.
fn first_words(proxy: &mut Proxy) -> io::Result<Vec<String>> {
    let output = proxy.output.take().ok_or_else(|| io::Error::other("the proxy has no output"))?;
    let mut lines: Vec<String> = Vec::new();
    for line in BufReader::new(output).lines() {
        let line = line?;
        if lines.iter().all(|before| before.chars().next() != line.chars().next()) {
            lines.push(line);
        }
        if lines.len() == HOPS {
            break;
        }
    }
    lines.sort();
    Ok(lines)
}

/// Starts an HTTP server; what it was asked last.
fn origin() -> io::Result<Arc<Mutex<String>>> {
    let listener =
        TcpListener::bind(ORIGIN).map_err(|error| explain(&format!("cannot listen on {ORIGIN}"), &error))?;
    let seen = Arc::<Mutex<String>>::default();
    let note = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let note = Arc::clone(&note);
            // A proxy that goes away ends its connection, and that is all.
            thread::spawn(move || drop(answer_requests(stream, &note)));
        }
    });
    Ok(seen)
}

fn answer_requests(stream: TcpStream, seen: &Mutex<String>) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        head.trim_end().clone_into(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GREETING}", GREETING.len())?;
    }
}
