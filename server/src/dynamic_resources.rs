//! Listeners and clusters that come from files and control planes: `dynamic_resources` of the bootstrap.
//!
//! What is right of an update is taken over even if some of it is wrong, as in Envoy; the last good version of the rest stays,
//! and everything that is wrong is said at once.

mod listeners;

use std::sync::Arc;

use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Document, Location, Report},
    config_subscription::ConfigResource,
};

pub(crate) use self::listeners::ListenerDiscovery;

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

/// A build error with its place in the resource's file.
fn explain(resource: &ConfigResource, error: &BuildError) -> String {
    let Some(path) = &error.path else { return error.message.clone() };
    let mut report = Report::new();
    report.error(path.clone(), Some(locate(resource, path)), &error.message);
    report.to_string()
}

/// Warnings about a resource go to the log.
fn warn(resource: &ConfigResource, warnings: Vec<BuildError>) {
    for warning in warnings {
        let path = warning.path.unwrap_or_default();
        let mut report = Report::new();
        let location = locate(resource, &path);
        report.warning(path, Some(location), warning.message);
        tracing::warn!(target: "config", "{report}");
    }
}

/// Where a path within a resource stands.
fn locate(resource: &ConfigResource, path: &ConfigPath) -> Location {
    let segments = path.segments();
    let own = resource.path.segments().len();
    let inner =
        segments.into_iter().skip(own).fold(ConfigPath::root(), |inner, segment| inner.join(segment.clone()));
    let document = Document { file: Arc::clone(&resource.node.file), root: Arc::clone(&resource.node) };
    document.locate(&inner)
}
