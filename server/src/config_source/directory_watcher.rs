//! Watches directories for the whole process with one inotify instance, of which a user may have few.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use tokio::{io::unix::AsyncFd, sync::mpsc::UnboundedSender};

/// Room for some events; a name has up to 255 bytes.
const BUFFER: usize = 4096;

/// Why a directory is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// It is on the way to others.
    Way,
    /// Links lead there.
    Link,
    /// It is the one that the configuration names.
    File,
}

/// What happened in a directory.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) about: About,
    /// The entry; empty if the directory itself is gone, or if events were lost.
    pub(super) name: OsString,
    pub(super) what: What,
}

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It was moved there.
    Moved,
    /// It was made: a link, a directory, or a file into which something will be written.
    Made,
    /// It was written, or is gone, or something was lost.
    Other,
}

/// Somebody who wants to know.
struct Listening {
    about: About,
    /// The only entry of interest.
    only: Option<OsString>,
    tell: UnboundedSender<Event>,
}

impl Listening {
    fn tell(&self, name: &OsStr, what: What) {
        if self.only.as_ref().is_none_or(|only| only == name) {
            // Who does not listen any more is sorted out when the next one comes.
            let _ = self.tell.send(Event { about: self.about, name: name.to_owned(), what });
        }
    }

    /// The watch does not say what is at the path any more.
    fn tell_lost(&self) {
        let _ = self.tell.send(Event { about: About::Way, name: OsString::new(), what: What::Other });
    }
}

/// Watches directories, as long as the runtime runs.
pub(super) struct DirectoryWatcher {
    inotify: AsyncFd<OwnedFd>,
    watches: Mutex<HashMap<i32, Vec<Listening>>>,
}

impl DirectoryWatcher {
    /// To be called in the runtime of the main thread.
    pub(super) fn start() -> io::Result<Arc<Self>> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "what is wrong with it cannot be with an OwnedFd: it stays one descriptor"
        )]
        let inotify = AsyncFd::new(inotify)?;
        let watcher = Arc::new(Self { inotify, watches: Mutex::default() });
        tokio::spawn(run(Arc::clone(&watcher)));
        Ok(watcher)
    }

    /// Tells what happens in a directory from now on, or to one entry of it, until the receiver is dropped.
    pub(super) fn watch(
        &self,
        directory: &Path,
        about: About,
        only: Option<&OsStr>,
        tell: &UnboundedSender<Event>,
    ) -> io::Result<()> {
        let come = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE;
        let go = WatchFlags::MOVED_FROM | WatchFlags::DELETE | WatchFlags::MOVE_SELF;
        let mut watches = self.lock();
        let watch = inotify::add_watch(self.inotify.as_fd(), directory, come | go | WatchFlags::ONLYDIR)?;
        let listening = watches.entry(watch).or_default();
        listening.retain(|present| !present.tell.is_closed());
        listening.push(Listening { about, only: only.map(OsStr::to_owned), tell: tell.clone() });
        Ok(())
    }

    /// Takes the events that are there.
    fn read(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map_or(&[][..], |name| name.to_bytes());
                    self.tell(event.wd(), event.events(), OsStr::from_bytes(name));
                }
                Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, watch: i32, what: ReadFlags, name: &OsStr) {
        let mut watches = self.lock();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            watches.values().flatten().for_each(Listening::tell_lost);
            return;
        }
        // The directory was removed, or is somewhere else: what is at its path now is another one.
        if what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
            watches.remove(&watch).iter().flatten().for_each(Listening::tell_lost);
            let _ = inotify::remove_watch(self.inotify.as_fd(), watch);
            return;
        }
        let Some(listening) = watches.get_mut(&watch) else { return };
        listening.retain(|present| !present.tell.is_closed());
        let what = match what {
            _ if what.contains(ReadFlags::MOVED_TO) => What::Moved,
            _ if what.contains(ReadFlags::CREATE) => What::Made,
            _ => What::Other,
        };
        listening.iter().for_each(|present| present.tell(name, what));
        if listening.is_empty() {
            watches.remove(&watch);
            // The directory may be gone, and the watch with it.
            let _ = inotify::remove_watch(self.inotify.as_fd(), watch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Listening>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(watcher: Arc<DirectoryWatcher>) {
    loop {
        match watcher.inotify.readable().await {
            Ok(mut ready) => {
                if let Ok(Err(error)) = ready.try_io(|_| watcher.read()) {
                    tracing::error!(target: "config", "cannot watch files any more: {error}");
                    return;
                }
            }
            Err(error) => {
                tracing::error!(target: "config", "cannot watch files any more: {error}");
                return;
            }
        }
    }
}
