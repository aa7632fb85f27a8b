//! Tells the service manager (systemd, `Type=notify`) how the process is: `sd_notify`.
//!
//! It listens at the datagram socket that `NOTIFY_SOCKET` names; without one nobody is told. The crate `sd-notify` (0.5)
//! does not know abstract names, which begin with `@`, so these few lines are our own.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

use rustix::time::{ClockId, clock_gettime};

/// Whoever started the process, if it wants to know.
#[derive(Debug)]
pub(crate) struct ServiceManager(Option<SocketAddr>);

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self(name.and_then(|name| {
            let place = address(&name).inspect_err(|error| {
                tracing::warn!(target: "main", "NOTIFY_SOCKET is no address of a service manager: {error}");
            });
            place.ok()
        }))
    }

    /// It serves, from the start or again.
    pub(crate) fn ready(&self, status: &str) {
        self.tell("READY=1", status);
    }

    /// It reads its configuration again. The time tells the manager which of its requests this is about, for
    /// `Type=notify-reload`.
    pub(crate) fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"), status);
    }

    /// It ends.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell("STOPPING=1", status);
    }

    fn tell(&self, state: &str, status: &str) {
        let Some(place) = &self.0 else { return };
        // A status is one line.
        let text = format!("{state}\nSTATUS={}", status.replace('\n', " "));
        let sent = UnixDatagram::unbound().and_then(|socket| {
            // A manager that does not listen shall not stop us.
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), place)
        });
        if let Err(error) = sent {
            tracing::warn!(target: "main", "cannot tell the service manager at NOTIFY_SOCKET: {error}");
        }
    }
}

/// A path, or a name after `@` that is in no file system.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it begins neither with / nor with @")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_a_line_for_each_fact() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager(Some(address(path.as_os_str()).unwrap()));
        let received = || {
            let mut buffer = [0; 256];
            let length = listening.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        manager.ready("serving\nwell");
        assert_eq!(received(), "READY=1\nSTATUS=serving well");
        manager.reloading("x");
        let told = received();
        let time =
            told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|it| it.strip_suffix("\nSTATUS=x"));
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok_and(|time| time > 0)), "{told}");
    }

    #[test]
    fn names_are_paths_or_abstract() {
        assert!(address(OsStr::new("@/org/x")).unwrap().as_abstract_name().is_some());
        assert!(address(OsStr::new("/run/x")).unwrap().as_pathname().is_some());
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
    }
}
