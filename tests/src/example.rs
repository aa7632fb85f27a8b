//! The configurations of `examples/configs`, unchanged except for their ports.

use std::{collections::BTreeSet, fs, path::PathBuf};

use crate::Origin;

/// An example that listens and connects on ports that it names.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The name of the file.
    pub file: &'static str,
    /// The name of the listener that takes connections.
    pub entry: &'static str,
    /// The port of that listener.
    pub listens: u16,
    /// The port of the server that the example expects.
    pub connects: u16,
}

impl Example {
    /// As in Envoy's documentation.
    pub const SEED: Self =
        Self { file: "seed.yaml", entry: "outbound_tcp_svc_19000", listens: 19000, connects: 19001 };
    /// The same as Envoy accepts it today.
    pub const MODERN: Self = Self { file: "internal-listener.yaml", ..Self::SEED };
    /// Three internal listeners in a row.
    pub const THREE_HOPS: Self =
        Self { file: "three-hops.yaml", entry: "entry", listens: 10000, connects: 10001 };
    /// What crosses a hop.
    pub const METADATA: Self = Self { file: "metadata-and-filter-state.yaml", ..Self::THREE_HOPS };
    /// All of them. A file that is not here fails a test.
    pub const ALL: [Self; 4] = [Self::SEED, Self::MODERN, Self::THREE_HOPS, Self::METADATA];

    /// The text of the file.
    #[track_caller]
    pub fn text(&self) -> String {
        fs::read_to_string(directory().join(self.file)).expect("the example is there")
    }

    /// The text with a port of the kernel's choice, and with the port of an origin.
    #[track_caller]
    pub fn in_front_of(&self, origin: &Origin) -> String {
        let text = self.text();
        let listens = format!("port_value: {}", self.listens);
        let connects = format!("port_value: {}", self.connects);
        for port in [&listens, &connects] {
            assert!(text.contains(port), "{} says {port}", self.file);
        }
        text.replace(&listens, "port_value: 0").replace(&connects, &format!("port_value: {}", origin.port()))
    }
}

/// The configurations of `examples/configs/tunnelling`: names of files, and texts.
pub fn tunnelling() -> Vec<(String, String)> {
    let entries = fs::read_dir(directory().join("tunnelling")).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|it| it == "yaml"));
    let text = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("the example is there"))
    };
    yaml.map(text).collect()
}

/// The files of `examples/configs/dynamic` in a directory of their own, each with some texts replaced; they name each other.
pub fn dynamic(replaced: &[(&str, &str)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory for the copy");
    let entries = fs::read_dir(directory().join("dynamic")).expect("the folder is there");
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        let text = fs::read_to_string(&path).expect("the example is there");
        let text = replaced.iter().fold(text, |text, (from, to)| text.replace(from, to));
        // They are named as seen from their directory, where the test is not.
        let text = text.replace("{ path: ", &format!("{{ path: {}/", copy.path().display()));
        fs::write(copy.path().join(path.file_name().unwrap_or_default()), text).expect("the copy is written");
    }
    copy
}

/// A file of `examples/fleet`.
pub fn fleet(file: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/fleet");
    fs::read_to_string(PathBuf::from(path).join(file)).expect("the example is there")
}

/// The names of the files that are there.
pub fn files() -> BTreeSet<String> {
    let entries = fs::read_dir(directory()).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let yaml = paths.filter(|path| path.extension().is_some_and(|it| it == "yaml"));
    yaml.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/configs"))
}
