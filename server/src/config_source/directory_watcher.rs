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
use tokio::{
    io::unix::AsyncFd,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Room for some events; a name has up to 255 bytes.
const BUFFER: usize = 4096;

/// What happened in a directory.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// The entry; empty if events were lost.
    pub(super) name: OsString,
    /// It was moved there; otherwise it was created, or closed after writing.
    pub(super) moved: bool,
}

/// Watches directories, as long as the runtime runs.
pub(super) struct DirectoryWatcher {
    inotify: AsyncFd<OwnedFd>,
    watches: Mutex<HashMap<i32, Vec<UnboundedSender<Event>>>>,
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

    /// What happens in a directory from now on, until the receiver is dropped.
    pub(super) fn watch(&self, directory: &Path) -> io::Result<UnboundedReceiver<Event>> {
        let what = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::CREATE | WatchFlags::ONLYDIR;
        let mut watches = self.lock();
        let watch = inotify::add_watch(self.inotify.as_fd(), directory, what)?;
        let (tell, told) = unbounded_channel();
        watches.entry(watch).or_default().push(tell);
        Ok(told)
    }

    /// Takes the events that are there.
    fn read(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    self.tell(event.wd(), event.events(), name.unwrap_or_default());
                }
                Err(Errno::WOULDBLOCK) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, watch: i32, what: ReadFlags, name: OsString) {
        let mut watches = self.lock();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            let lost = Event { name: OsString::new(), moved: false };
            // Who does not listen any more is sorted out below, some time.
            watches.values().flatten().for_each(|tell| drop(tell.send(lost.clone())));
            return;
        }
        if what.contains(ReadFlags::IGNORED) {
            watches.remove(&watch);
            return;
        }
        let Some(listening) = watches.get_mut(&watch) else { return };
        let event = Event { name, moved: what.contains(ReadFlags::MOVED_TO) };
        listening.retain(|tell| tell.send(event.clone()).is_ok());
        if listening.is_empty() {
            watches.remove(&watch);
            // The directory may be gone, and the watch with it.
            let _ = inotify::remove_watch(self.inotify.as_fd(), watch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<UnboundedSender<Event>>>> {
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
