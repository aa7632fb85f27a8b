//! The directories that have to be watched to know of every change of one file.
//!
//! Its own directory, the one where links lead, and every directory on the way to both: it may be deleted and made again,
//! replaced by another, or be a link that changes.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use tokio::sync::mpsc::UnboundedSender;
use underpass_core::server::ServerContext;

use super::directory_watcher::{About, DirectoryWatcher, Event};

/// A directory, and what in it matters.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// How deep it is.
    depth: usize,
    directory: PathBuf,
    about: About,
    only: Option<OsString>,
}

/// All of them for one file, from the root on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedPlaces(Vec<Place>);

impl WatchedPlaces {
    /// As the file system is now. `directory` is the one to be watched in the place of the file's own.
    pub(super) fn of(path: &Path, directory: Option<&Path>) -> Self {
        let mut places = Vec::new();
        // Where nothing is, no link leads on; it is looked again when something comes.
        let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
        let own = path.file_name().filter(|_| !is_link);
        let named = directory_of(path);
        match directory {
            Some(directory) => {
                add(&mut places, directory, About::File, None);
                add(&mut places, named, About::Link, own);
            }
            None => add(&mut places, named, About::File, own),
        }
        if let Ok(real) = fs::canonicalize(path) {
            add(&mut places, directory_of(&real), About::Link, real.file_name());
        }
        places.sort();
        places.dedup();
        Self(places)
    }

    /// Has everything told that happens there.
    pub(super) fn watch(&self, tell: &UnboundedSender<Event>, server: &ServerContext) {
        let watcher = match watcher(server) {
            Ok(watcher) => watcher,
            Err(error) => return tracing::error!(target: "config", "cannot watch files: {error}"),
        };
        for place in &self.0 {
            let directory = &place.directory;
            match watcher.watch(directory, place.about, place.only.as_deref(), tell) {
                // A file that cannot be watched is read all the same. What is not there may come: the one above it is watched.
                Err(error) if place.about == About::File && error.kind() != io::ErrorKind::NotFound => {
                    tracing::error!(target: "config", "cannot watch the directory {}: {error}", directory.display());
                }
                Err(error) => {
                    tracing::debug!(target: "config", "{} is not watched: {error}", directory.display());
                }
                Ok(()) => {}
            }
        }
    }
}

/// A directory and all that lead to it.
fn add(places: &mut Vec<Place>, directory: &Path, about: About, only: Option<&OsStr>) {
    // A directory without a name for itself is where the process is.
    let directory = absolute(directory).unwrap_or_else(|_| directory.to_owned());
    for below in directory.ancestors() {
        if let (Some(above), Some(name)) = (below.parent(), below.file_name()) {
            places.push(place(above, About::Way, Some(name)));
        }
    }
    places.push(place(&directory, about, only));
}

fn place(directory: &Path, about: About, only: Option<&OsStr>) -> Place {
    let depth = directory.components().count();
    Place { depth, directory: directory.to_owned(), about, only: only.map(OsStr::to_owned) }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != OsStr::new("")).unwrap_or(Path::new("."))
}

/// The process has one.
fn watcher(server: &ServerContext) -> io::Result<Arc<DirectoryWatcher>> {
    if let Some(present) = server.singletons.get::<DirectoryWatcher>() {
        return Ok(present);
    }
    let watcher = DirectoryWatcher::start()?;
    server.singletons.insert(Arc::clone(&watcher));
    Ok(watcher)
}
