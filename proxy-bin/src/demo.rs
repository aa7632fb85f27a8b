//! `underpass demo`: the seed's configuration with an echo server behind it, bytes through both listeners, and the
//! counters of every hop.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

const CONFIG: &str = include_str!("../../examples/configs/seed.yaml");
/// The ports of the seed's configuration.
const LISTENER: &str = "127.0.0.1:19000";
const UPSTREAM: &str = "127.0.0.1:19001";
const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";
const PAYLOAD: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints a line; a reader that has seen enough (`| head`) is no reason to fail.
macro_rules! say {
    ($($text:tt)*) => { drop(writeln!(io::stdout(), $($text)*)) };
}

/// Runs the demonstration; the exit code tells whether every byte came back.
pub fn run() -> ExitCode {
    match demonstrate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate() -> io::Result<()> {
    let upstream = TcpListener::bind(UPSTREAM)
        .map_err(|error| explain(&format!("cannot listen on {UPSTREAM}"), &error))?;
    thread::spawn(move || {
        upstream.incoming().flatten().for_each(|stream| drop(thread::spawn(move || echo(stream))));
    });

    let directory = std::env::temp_dir().join(format!("underpass-demo-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let outcome = through_the_proxy(&directory);
    // What cannot be removed is left to whoever cleans the temporary directory.
    let _ = fs::remove_dir_all(&directory);
    outcome
}

fn through_the_proxy(directory: &Path) -> io::Result<()> {
    let mut proxy = Proxy::start(directory)?;
    let admin = proxy.wait_ready(&directory.join("admin"))?;

    say!("client -> {LISTENER} (outbound_tcp_svc_19000)");
    say!("       -> envoy://singleton_internal_encap/ (an internal listener: no kernel socket)");
    say!("       -> {UPSTREAM} (an echo server of this demonstration)\n");
    let started = Instant::now();
    let came_back = round_trip()?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    say!("sent {PAYLOAD} bytes; {came_back} came back unchanged, in {milliseconds:.1} ms\n");

    say!("what each hop counted:");
    let stats = get(admin, "/stats?usedonly&filter=_(cx_total|cx_rx_bytes_total|cx_tx_bytes_total)$")?;
    for line in stats.lines().filter(|line| !line.contains("admin") && !line.contains("worker_")) {
        say!("  {line}");
    }
    Ok(())
}

/// A child process that ends with the demonstration.
struct Proxy(Child);

impl Proxy {
    fn start(directory: &Path) -> io::Result<Self> {
        let config = directory.join("seed.yaml");
        fs::write(&config, CONFIG)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("-c")
            .arg(&config)
            .args(["--config-yaml", ADMIN, "--log-level", "error", "--admin-address-path"])
            .arg(directory.join("admin"))
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }

    /// Waits until the proxy serves; where its admin interface is.
    fn wait_ready(&mut self, address_file: &Path) -> io::Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.0.try_wait()?.is_some() {
                return Err(io::Error::other("the proxy ended; it said why above"));
            }
            let address = fs::read_to_string(address_file).ok().and_then(|text| text.trim().parse().ok());
            if let Some(address) =
                address.filter(|it| get(*it, "/ready").is_ok_and(|state| state == "LIVE\n"))
            {
                return Ok(address);
            }
            thread::park_timeout(Duration::from_millis(10));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the proxy was not ready in time"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

/// The body of an answer of the admin interface.
fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn explain(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
