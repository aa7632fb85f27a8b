//! Files that a proxy watches for its configuration.

use std::{cell::Cell, fs};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::With as _;

/// A directory of them; it is gone when this is dropped.
#[derive(Debug)]
pub struct WatchedFiles {
    directory: TempDir,
    /// The version that was published last, in whichever file.
    version: Cell<u64>,
}

impl WatchedFiles {
    /// No files yet.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory for temporary files"),
            version: Cell::default(),
        }
    }

    /// Where a file is or would be.
    pub fn path(&self, file: &str) -> String {
        self.directory.path().join(file).display().to_string()
    }

    /// The source that means a file.
    pub fn source(&self, file: &str) -> Value {
        json!({ "path_config_source": { "path": self.path(file) } })
    }

    /// Puts a text into the place of a file.
    pub fn replace(&self, file: &str, text: &str) {
        fs::write(self.path("new"), text).expect("the directory is there");
        fs::rename(self.path("new"), self.path(file)).expect("the file is there");
    }

    /// Puts all resources of a type into the place of a file, as a new version.
    pub fn publish(&self, file: &str, resource_type: &str, resources: &[Value]) {
        self.replace(file, &self.response(resource_type, resources));
    }

    /// The text of the next version of such a file.
    pub fn response(&self, resource_type: &str, resources: &[Value]) -> String {
        self.version.set(self.version.get() + 1);
        let typed =
            |it: &Value| it.clone().with(json!({ "@type": format!("type.googleapis.com/{resource_type}") }));
        let resources: Vec<_> = resources.iter().map(typed).collect();
        json!({ "version_info": self.version.get().to_string(), "resources": resources }).to_string()
    }

    /// What a text says about these files, with their names alone.
    pub fn shorten(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(text).replace(&format!("{}/", self.directory.path().display()), "")
    }
}
