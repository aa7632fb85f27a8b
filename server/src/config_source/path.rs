//! `path_config_source`: one file, watched.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::AbortHandle,
};
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, ConfigSource, SourceKind},
    config_subscription::{
        CONFIG_SOURCE_CATEGORY, ConfigSourceFactory, ConfigSourceRegistration, Delivery, Subscription,
    },
    extension::Registration,
    server::ServerContext,
};

use super::{
    BadResponse,
    directory_watcher::{About, Event, What},
    discovery_response,
    watched_places::WatchedPlaces,
};

/// Reads files.
struct Files;

inventory::submit! {
    ConfigSourceRegistration {
        registration: Registration::named(
            CONFIG_SOURCE_CATEGORY,
            "envoy.config_subscription.filesystem",
            env!("CARGO_PKG_NAME"),
            "Reads configuration from files that are watched (path_config_source).",
        ),
        kind: SourceKind::Path,
        factory: &Files,
    }
}

impl ConfigSourceFactory for Files {
    fn check(
        &self,
        source: &ConfigSource,
        path: &ConfigPath,
        _: &Arc<ServerContext>,
    ) -> Result<(), BuildError> {
        let (file, directory) = places(source);
        let (path, directory_path) = match &source.path_config_source {
            Some(_) => {
                let path = path.field("path_config_source");
                (path.field("path"), path.field("watched_directory").field("path"))
            }
            None => (path.field("path"), path.clone()),
        };
        if !Path::new(file).exists() {
            // Envoy's words.
            let message =
                format!("paths must refer to an existing path in the system: '{file}' does not exist");
            return Err(BuildError::at(path, message));
        }
        match directory.filter(|directory| !Path::new(directory).is_dir()) {
            Some(directory) => Err(BuildError::at(
                directory_path,
                format!("'{directory}' is no directory that can be watched"),
            )),
            None => Ok(()),
        }
    }

    fn subscribe(
        &self,
        source: &ConfigSource,
        delivery: Delivery,
        server: &Arc<ServerContext>,
    ) -> Box<dyn Subscription> {
        let (file, directory) = places(source);
        let mut file = WatchedFile::new(Path::new(file), directory.map(Path::new), delivery);
        // Before it is read, or a change in between would be lost.
        let following = Following::begin(&file, server);
        file.refresh(true);
        Box::new(Watch(tokio::spawn(file.follow(following, Arc::clone(server))).abort_handle()))
    }
}

/// The file, and the directory that is watched instead of its own.
fn places(source: &ConfigSource) -> (&str, Option<&str>) {
    match &source.path_config_source {
        Some(config) => (&config.path, config.watched_directory.as_ref().map(|directory| &*directory.path)),
        None => (source.path.as_deref().unwrap_or_default(), None),
    }
}

/// A subscription to a file.
struct Watch(AbortHandle);

impl Subscription for Watch {}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A file and what was read of it last.
struct WatchedFile {
    path: PathBuf,
    directory: Option<PathBuf>,
    delivery: Delivery,
    seen: Option<Fingerprint>,
    /// It was read before the event that says so was: an event about something else came first.
    early: bool,
}

/// Tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// Hears of everything that happens where the file is.
struct Following {
    places: WatchedPlaces,
    events: UnboundedReceiver<Event>,
    /// Keeps the channel open while nothing can be watched.
    _tell: UnboundedSender<Event>,
}

impl Following {
    fn begin(file: &WatchedFile, server: &ServerContext) -> Self {
        let places = WatchedPlaces::of(&file.path, file.directory.as_deref());
        let (tell, events) = unbounded_channel();
        places.watch(&tell, server);
        Self { places, events, _tell: tell }
    }
}

impl WatchedFile {
    fn new(path: &Path, directory: Option<&Path>, delivery: Delivery) -> Self {
        Self {
            path: path.to_owned(),
            directory: directory.map(Path::to_owned),
            delivery,
            seen: None,
            early: false,
        }
    }

    async fn follow(mut self, mut following: Following, server: Arc<ServerContext>) {
        while let Some(first) = following.events.recv().await {
            if self.delivery.is_abandoned() {
                return;
            }
            // What happened at once is one change.
            let mut events = vec![first];
            while let Ok(event) = following.events.try_recv() {
                events.push(event);
            }
            let moved = events.iter().any(|event| self.is_moved(event));
            let lost = events.iter().any(|event| event.about == About::Way);
            let own = events.iter().rev().find(|event| Some(&*event.name) == self.path.file_name());
            let was_made = own.is_some_and(|event| event.what == What::Made);
            if lost || following.places != WatchedPlaces::of(&self.path, self.directory.as_deref()) {
                following = Following::begin(&self, &server);
            }
            // Whoever has made a file writes it and closes it, which is told; a link to one that is there is all there is.
            if moved || lost || !was_made || !is_new_file(&self.path) {
                self.refresh(moved);
            }
        }
    }

    /// Whether an event alone says that the file is to be read, as in Envoy: it was moved to its place, or, where a directory
    /// is watched, anything was moved there.
    fn is_moved(&self, event: &Event) -> bool {
        event.what == What::Moved
            && event.about == About::File
            && (self.directory.is_some() || Some(&*event.name) == self.path.file_name())
    }

    /// Reads the file if it has changed, or if it shall be read anyway.
    fn refresh(&mut self, anyway: bool) {
        let now = Fingerprint::of(&self.path);
        if !anyway && (now == self.seen || now.is_none()) {
            return;
        }
        if anyway && std::mem::take(&mut self.early) && now == self.seen {
            return;
        }
        // A move in a directory of its own is a signal by itself.
        self.early = !anyway && self.directory.is_none();
        self.seen = now;
        self.delivery.attempt();
        let read = fs::read(&self.path);
        let text = match read {
            Ok(text) => text,
            Err(error) => return self.failed(&format!("cannot read {}: {error}", self.path.display())),
        };
        match discovery_response::read(&self.path, &text, self.delivery.type_name()) {
            Ok(update) => {
                if let Err(details) = self.delivery.deliver(&update) {
                    rejected(&details);
                }
            }
            Err(BadResponse::Unreadable(why)) => self.failed(&why),
            Err(bad @ BadResponse::Unexpected(_)) => {
                rejected(&bad.to_string());
                self.delivery.reject();
            }
        }
    }

    fn failed(&self, why: &str) {
        tracing::warn!(target: "config", "Filesystem config update failure: {why}");
        self.delivery.fail(why);
    }
}

fn rejected(details: &str) {
    tracing::warn!(target: "config", "Filesystem config update rejected: {details}");
}

/// Whether there is a file that nobody has linked there.
fn is_new_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

impl Fingerprint {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), modified })
    }
}

#[cfg(test)]
mod tests;
