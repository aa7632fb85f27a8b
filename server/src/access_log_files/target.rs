//! Where the bytes of an access log go: a file of the file system, or the process's own output.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

/// A file that is open for appending.
#[derive(Debug)]
pub(super) struct Target {
    /// `None` for standard output and error, which cannot be opened anew.
    path: Option<PathBuf>,
    file: File,
}

impl Target {
    /// Opens a path, and creates the file if there is none.
    ///
    /// `/dev/stdout` and `/dev/stderr` stand for what the process was started with. They are not opened by that name,
    /// which fails where they are sockets, as under systemd.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match path.to_str() {
            Some("/dev/stdout") => Self::inherited(&io::stdout()),
            Some("/dev/stderr") => Self::inherited(&io::stderr()),
            _ => Ok(Self { path: Some(path.to_owned()), file: open_for_appending(path)? }),
        }
    }

    fn inherited(output: &impl AsFd) -> io::Result<Self> {
        let file = File::from(output.as_fd().try_clone_to_owned()?);
        Ok(Self { path: None, file })
    }

    /// Opens the path anew; on failure it goes on with what it has.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open_for_appending(path)?;
        }
        Ok(())
    }

    /// Writes all of the bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }
}

fn open_for_appending(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
