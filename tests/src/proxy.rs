//! A proxy process under test.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Admin, PATIENCE, binary, eventually, eventually_some};

/// A running proxy. It ends, by force if need be, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    admin: Admin,
    directory: TempDir,
}

/// How a proxy is started.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    binary: &'a Path,
    config: String,
    arguments: Vec<String>,
}

impl<'a> Start<'a> {
    /// The reference binary with this configuration, without an `admin` block: that is added.
    ///
    /// `DIR` in the text stands for the proxy's directory, for log files.
    pub fn new(config: impl Into<String>) -> Self {
        Self { binary: binary::underpass(), config: config.into(), arguments: Vec::new() }
    }

    /// Another binary.
    #[must_use]
    pub fn binary(self, binary: &'a Path) -> Self {
        Self { binary, ..self }
    }

    /// More arguments.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Proxy {
        let directory = tempfile::tempdir().expect("a directory for the proxy");
        let config = directory.path().join("config.yaml");
        let admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n";
        let place = directory.path().display().to_string();
        fs::write(&config, format!("{admin}{}", self.config.replace("DIR", &place)))
            .expect("the configuration is written");
        let (address_file, log) =
            (directory.path().join("admin-address"), directory.path().join("stderr.log"));
        let mut command = Command::new(self.binary);
        command.arg("-c").arg(&config).arg("--admin-address-path").arg(&address_file);
        if !self.arguments.iter().any(|argument| argument == "--concurrency") {
            command.args(["--concurrency", "1"]);
        }
        let stderr = fs::File::create(&log).expect("a log file");
        let mut child = command
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let admin = eventually_some("the proxy tells its admin address", || {
            let ended = child.try_wait().expect("the process can be asked");
            assert!(ended.is_none(), "the proxy ended: {}", fs::read_to_string(&log).unwrap_or_default());
            fs::read_to_string(&address_file).ok()?.trim().parse::<SocketAddr>().ok()
        });
        let proxy = Proxy { child, admin: Admin::new(admin), directory };
        eventually("the proxy is ready", || {
            proxy.admin.request("GET", "/ready").is_ok_and(|it| it.status == 200)
        });
        proxy
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub fn run(self) -> Output {
        let directory = tempfile::tempdir().expect("a directory for the proxy");
        let config = directory.path().join("config.yaml");
        fs::write(&config, &self.config).expect("the configuration is written");
        let mut output = Command::new(self.binary)
            .arg("-c")
            .arg(&config)
            .args(&self.arguments)
            .output()
            .expect("the binary starts");
        let place = format!("{}/", directory.path().display());
        for stream in [&mut output.stdout, &mut output.stderr] {
            *stream = String::from_utf8_lossy(stream).replace(&place, "").into_bytes();
        }
        output
    }
}

impl Proxy {
    /// Starts the reference binary with this configuration; see [`Start`].
    #[track_caller]
    pub fn start(config: impl Into<String>) -> Self {
        Start::new(config).start()
    }

    /// Its admin interface.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// Where a TCP listener listens, by the listener's name.
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        let listeners = self.admin.get("/listeners");
        let address =
            listeners.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("::")?.parse().ok());
        address.unwrap_or_else(|| panic!("no TCP listener {name} in\n{listeners}"))
    }

    /// A file in the proxy's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lines of a file in the proxy's directory, once there are that many.
    #[track_caller]
    pub fn lines(&self, name: &str, count: usize) -> Vec<String> {
        let read = || fs::read_to_string(self.path(name)).unwrap_or_default();
        eventually(&format!("{count} lines in {name}"), || read().lines().count() >= count);
        read().lines().map(str::to_owned).collect()
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("stderr.log")).unwrap_or_default()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).map_or(0, Iterator::count)
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Sends a signal (`TERM`, `USR1`).
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually_some("the proxy ends", || self.child.try_wait().expect("the process can be asked"))
    }

    /// Ends it with TERM; its exit status and how long that took.
    #[track_caller]
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal("TERM");
        (self.wait(), asked.elapsed())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The process's log tells what the test cannot.
            let _ = std::io::stderr().write_all(self.log().as_bytes());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asserts that a connection is refused at an address, within [`PATIENCE`].
#[track_caller]
pub fn wait_refused(address: SocketAddr) {
    eventually("connections are refused", || {
        std::net::TcpStream::connect_timeout(&address, PATIENCE).is_err()
    });
}
