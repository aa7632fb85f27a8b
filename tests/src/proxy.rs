//! A proxy process under test.

use std::{
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Admin, Chain, Origin, PATIENCE, binary, client, config::Config, eventually, eventually_some};

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
    environment: Vec<(String, String)>,
}

/// Added to a configuration, so that the proxy can be asked.
const ADMIN: &str = r#""admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}, "ignore_global_conn_limit": true}"#;

/// Merged into a configuration that says nothing of such layers itself, so that every hop is carried out one by one.
const WITHOUT_FUSION: &str = r#"{"layered_runtime": {"layers": [{"name": "without_fusion", "static_layer": {"underpass.hop_fusion": false}}]}}"#;

/// Whether the tests are run without hop fusion: `UNDERPASS_TEST_HOP_FUSION=off`.
fn is_without_fusion() -> bool {
    std::env::var("UNDERPASS_TEST_HOP_FUSION").is_ok_and(|value| value == "off")
}

impl<'a> Start<'a> {
    /// The reference binary with this configuration, without an `admin` block: that is added.
    ///
    /// `DIR/` in the text stands for the proxy's directory, for log files and sockets.
    pub fn new(config: impl Into<Config>) -> Self {
        Self {
            binary: binary::underpass(),
            config: config.into().0,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Another binary.
    #[must_use]
    pub fn binary(self, binary: &'a Path) -> Self {
        Self { binary, ..self }
    }

    /// More arguments; `DIR/` in them stands for the proxy's directory.
    #[must_use]
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Proxy {
        self.start_when(|_| {})
    }

    /// The same; `begun` is called when it answers at its admin interface, and is ready later.
    #[track_caller]
    pub fn start_when(self, begun: impl FnOnce(&Proxy)) -> Proxy {
        let directory = tempfile::tempdir().expect("a directory for the proxy");
        let file = |name: &str| directory.path().join(name);
        fs::write(file("config.yaml"), with_admin(&self.config, &directory))
            .expect("the configuration is written");
        let output = |name: &str| fs::File::create(file(name)).expect("a log file");
        let mut child = self
            .command(&directory)
            .arg("--admin-address-path")
            .arg(file("admin-address"))
            .stdout(output("stdout.log"))
            .stderr(output("stderr.log"))
            .spawn()
            .expect("the binary starts");
        let log = file("stderr.log");
        let admin = eventually_some("the proxy tells its admin address", || {
            assert_runs(&mut child, &log);
            fs::read_to_string(file("admin-address")).ok()?.trim().parse().map(Admin::new).ok()
        });
        let mut proxy = Proxy { child, admin, directory };
        begun(&proxy);
        eventually("the proxy is ready", || {
            assert_runs(&mut proxy.child, &log);
            admin.request("GET", "/ready").is_ok_and(|it| it.status == 200)
        });
        proxy
    }

    /// Runs it to its end, which must come by itself. In what it says, the path of its directory is left out.
    #[track_caller]
    pub fn run(self) -> Output {
        let directory = tempfile::tempdir().expect("a directory for the proxy");
        let place = format!("{}/", directory.path().display());
        let config = self.config.replace("DIR/", &place);
        fs::write(directory.path().join("config.yaml"), config).expect("the configuration is written");
        let mut output = run(&mut self.command(&directory));
        for stream in [&mut output.stdout, &mut output.stderr] {
            let text = String::from_utf8_lossy(stream).replace(&place, "");
            *stream = text.into_bytes();
        }
        output
    }

    fn command(&self, directory: &TempDir) -> Command {
        let place = format!("{}/", directory.path().display());
        let mut command = Command::new(self.binary);
        command.arg("-c").arg(directory.path().join("config.yaml"));
        // Envoy's own options: several proxies run at once, and logs shall be on disk soon.
        command.args(["--disable-hot-restart", "--file-flush-interval-msec", "50"]);
        if !self.arguments.iter().any(|argument| argument == "--concurrency") {
            command.args(["--concurrency", "1"]);
        }
        command.args(self.arguments.iter().map(|argument| argument.replace("DIR/", &place)));
        let has_own = self.config.contains("layered_runtime")
            || self.arguments.iter().any(|argument| argument == "--config-yaml");
        if is_without_fusion() && !has_own {
            command.args(["--config-yaml", WITHOUT_FUSION]);
        }
        command.stdin(Stdio::null()).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

#[track_caller]
fn assert_runs(child: &mut Child, log: &Path) {
    let ended = child.try_wait().expect("the process can be asked");
    assert!(ended.is_none(), "the proxy ended: {}", fs::read_to_string(log).unwrap_or_default());
}

/// A configuration as it is written to the proxy's file.
fn with_admin(config: &str, directory: &TempDir) -> String {
    let config = match config.strip_prefix('{') {
        Some(fields) => format!("{{{ADMIN},{fields}"),
        None => format!("{ADMIN}\n{config}"),
    };
    config.replace("DIR/", &format!("{}/", directory.path().display()))
}

/// Runs a command to its end; kills it if the end does not come within [`PATIENCE`].
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is what there is.
            let _ = stream.map(|mut stream| stream.read_to_end(&mut bytes));
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|it| Box::new(it) as _));
    let stderr = read(child.stderr.take().map(|it| Box::new(it) as _));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("the process can be asked") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::park_timeout(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        // It is asserted below that it was not needed.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |it: thread::JoinHandle<Vec<u8>>| it.join().expect("reading does not panic");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("still running: {}", String::from_utf8_lossy(&stderr)));
    Output { status, stdout, stderr }
}

impl Proxy {
    /// Starts the reference binary with this configuration; see [`Start`].
    #[track_caller]
    pub fn start(config: impl Into<Config>) -> Self {
        Start::new(config).start()
    }

    /// Its admin interface.
    pub fn admin(&self) -> Admin {
        self.admin
    }

    /// Where a TCP listener listens, by the listener's name.
    #[track_caller]
    pub fn listener(&self, name: &str) -> SocketAddr {
        *self.addresses(name).first().unwrap_or_else(|| panic!("no TCP listener {name}"))
    }

    /// All addresses of a TCP listener, by its name.
    pub fn addresses(&self, name: &str) -> Vec<SocketAddr> {
        let listeners = self.admin.get("/listeners");
        let address = |line: &str| line.strip_prefix(name)?.strip_prefix("::")?.parse().ok();
        listeners.lines().filter_map(address).collect()
    }

    /// A client that is connected to a TCP listener.
    #[track_caller]
    pub fn connect(&self, name: &str) -> TcpStream {
        client::connect(self.listener(name))
    }

    /// A file in the proxy's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lines of a file in the proxy's directory, once there are that many.
    #[track_caller]
    pub fn lines(&self, name: &str, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines in {name}"), || self.lines_now(name).len() >= count);
        self.lines_now(name)
    }

    /// The lines of a file in the proxy's directory, as they are now; none if there is no such file.
    pub fn lines_now(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Puts another configuration in the place of its own; it is read on HUP.
    pub fn rewrite(&self, config: impl Into<Config>) {
        let text = with_admin(&config.into().0, &self.directory);
        fs::write(self.path("config.new"), text).expect("the configuration is written");
        fs::rename(self.path("config.new"), self.path("config.yaml")).expect("it takes the other's place");
    }

    /// Has it read another configuration, and waits until that is taken over.
    #[track_caller]
    pub fn reload(&self, config: impl Into<Config>) {
        let count = |name: &str| self.admin.stat(&format!("server.config_reload_{name}"));
        let before = (count("success"), count("failure"));
        self.rewrite(config);
        self.signal("HUP");
        eventually("the configuration is taken over", || {
            assert_eq!(count("failure"), before.1, "it is refused");
            count("success") == before.0 + 1
        });
    }

    /// Has it read another configuration, and waits until that is refused. Returns what is said about it.
    #[track_caller]
    pub fn reload_in_vain(&self, config: impl Into<Config>) -> String {
        let before = (self.admin.stat("server.config_reload_failure"), self.log().len());
        self.rewrite(config);
        self.signal("HUP");
        self.admin.wait_stat("server.config_reload_failure", before.0 + 1);
        self.log().split_off(before.1).replace(&format!("{}/", self.directory.path().display()), "")
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
        self.stop_by("TERM")
    }

    /// Ends it with a signal; its exit status and how long that took.
    #[track_caller]
    pub fn stop_by(&mut self, signal: &str) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(signal);
        (self.wait(), asked.elapsed())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            // The process's log tells what the test cannot.
            let _ = std::io::stderr().write_all(self.log().as_bytes());
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A chain after one connection of five bytes each way.
#[track_caller]
pub fn after_one_connection(config: impl FnOnce(Chain) -> Chain) -> Proxy {
    let origin = Origin::echo();
    let proxy = Proxy::start(config(Chain::to(&origin)));
    assert_eq!(client::ask(&mut proxy.connect("outer"), "hello"), "hello");
    proxy.admin().wait_idle();
    proxy
}

/// Asserts that a connection is refused at an address, within [`PATIENCE`].
#[track_caller]
pub fn wait_refused(address: SocketAddr) {
    eventually("connections are refused", || TcpStream::connect_timeout(&address, PATIENCE).is_err());
}
