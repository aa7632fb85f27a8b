//! `underpass demo`: demonstrations that need nothing but this binary.

mod bytes;
#[cfg(feature = "http")]
mod connect;

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";
const PATIENCE: Duration = Duration::from_secs(10);

/// Prints a line; a reader that has seen enough (`| head`) is no reason to fail.
macro_rules! say {
    ($($text:tt)*) => { drop(std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)))) };
}
use say;

/// Runs a demonstration: of bytes through two listeners, or, if it is asked for `connect`, of a GET inside a CONNECT. The exit
/// code tells whether everything came back as it should.
pub fn run(which: Option<&OsStr>) -> ExitCode {
    let outcome = match which.and_then(OsStr::to_str) {
        None if which.is_none() => bytes::demonstrate(),
        #[cfg(feature = "http")]
        Some("connect") => connect::demonstrate(),
        #[cfg(not(feature = "http"))]
        Some("connect") => Err(io::Error::other(
            "this binary is built without HTTP; `cargo run --release -p underpass-proxy-bin -- demo connect` builds one with it",
        )),
        _ => Err(io::Error::other("there is `underpass demo` and `underpass demo connect`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the demonstration failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A child process that ends with the demonstration.
struct Proxy {
    child: Child,
    /// Where its files are.
    directory: PathBuf,
    /// Where its admin interface is.
    admin: SocketAddr,
    /// What it prints.
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "it is `demo connect` that shows it"))]
    output: Option<ChildStdout>,
}

impl Proxy {
    /// Starts a configuration and waits until it serves.
    fn start(config: &str) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("underpass-demo-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let file = directory.join("config.yaml");
        fs::write(&file, config)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("-c")
            .arg(&file)
            .args(["--config-yaml", ADMIN, "--log-level", "error", "--admin-address-path"])
            .arg(directory.join("admin"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self { child, directory, admin: unknown, output };
        proxy.admin = proxy.wait_ready()?;
        Ok(proxy)
    }

    fn wait_ready(&mut self) -> io::Result<SocketAddr> {
        let address_file = self.directory.join("admin");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Err(io::Error::other("the proxy ended; it said why above"));
            }
            let address = admin_address(&address_file);
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

fn admin_address(file: &Path) -> Option<SocketAddr> {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The body of an answer of the admin interface.
fn get(admin: SocketAddr, path: &str) -> io::Result<String> {
    let answer =
        exchange(admin, &format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n"))?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Sends a request and reads to the end.
fn exchange(address: impl ToSocketAddrs, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn explain(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
