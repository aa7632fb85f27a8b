//! Listeners and clusters that come from files and control planes: `dynamic_resources` of the bootstrap.
//!
//! What is right of an update is taken over even if some of it is wrong, as in Envoy; the last good version of the rest stays,
//! and everything that is wrong is said at once.

mod clusters;
mod listeners;

pub(crate) use self::{clusters::ClusterDiscovery, listeners::ListenerDiscovery};

/// What is wrong with the resources of an update, by name.
#[derive(Default)]
struct Failures(Vec<(String, String)>);

impl Failures {
    fn add(&mut self, name: &str, message: impl Into<String>) {
        self.0.push((name.to_owned(), message.into()));
    }

    /// `Ok` if nothing is wrong; otherwise everything, behind `heading`.
    fn conclude(self, heading: &str) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let messages: Vec<_> = self.0.iter().map(|(name, message)| format!("{name}: {message}")).collect();
        Err(format!("{heading} {}", messages.join("\n")))
    }
}
