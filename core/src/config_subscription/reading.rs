//! Reading resources into typed messages, by the same rules wherever they come from.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{ConfigResource, ConfigUpdate};
use crate::{
    build_context::BuildError,
    config::{ConfigPath, Document, Location, Reader, Report},
    extension::ExtensionSet,
    stats::Counter,
};

impl ConfigResource {
    /// An error that was found when it was built, with its file and line.
    pub fn explain(&self, error: &BuildError) -> String {
        let Some(path) = &error.path else { return error.message.clone() };
        let mut report = Report::new();
        report.error(path.clone(), Some(self.locate(path)), &error.message);
        report.to_string()
    }

    /// Writes warnings to the log.
    pub fn warn(&self, warnings: Vec<BuildError>) {
        for warning in warnings {
            let path = warning.path.unwrap_or_default();
            let mut report = Report::new();
            let location = self.locate(&path);
            report.warning(path, Some(location), warning.message);
            tracing::warn!(target: "config", "{report}");
        }
    }

    /// Where a path that leads into it stands.
    fn locate(&self, path: &ConfigPath) -> Location {
        let own = self.path.segments().len();
        let inner = path.segments().into_iter().skip(own);
        let inner = inner.fold(ConfigPath::root(), |path, segment| path.join(segment.clone()));
        Document { file: Arc::clone(&self.node.file), root: Arc::clone(&self.node) }.locate(&inner)
    }
}

impl ConfigUpdate {
    /// The resource with this name, for those who want but one; `None` if the update is empty.
    ///
    /// # Errors
    /// If there are others, and it is not among them. `kind` is for the message, which is Envoy's.
    pub fn only(&self, name: &str, kind: &str) -> Result<Option<&ConfigResource>, String> {
        match self.resources.iter().find(|resource| &*resource.name == name) {
            None if self.resources.is_empty() => Ok(None),
            Some(found) => Ok(Some(found)),
            None => {
                let names: Vec<_> = self.resources.iter().map(|resource| &*resource.name).collect();
                Err(format!("Unexpected {kind} (expecting {name}): {}", names.join(", ")))
            }
        }
    }
}

/// What is done about fields that neither Envoy nor this proxy knows, in configuration that changes while the process runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are ignored with a warning, as in Envoy.
    #[default]
    Warn,
    /// They are ignored (`--ignore-unknown-dynamic-fields`).
    Ignore,
    /// They are errors (`--reject-unknown-dynamic-fields`).
    Reject,
}

/// Reads resources; the process has one.
#[derive(Debug, Clone, Default)]
pub struct ResourceReader {
    /// Fields of Envoy, as (message, field), that may be ignored with no more than a warning.
    pub harmless: &'static [(&'static str, &'static str)],
    /// What is done about fields that nobody knows.
    pub unknown_fields: UnknownFields,
    /// Counts those that were ignored (`server.dynamic_unknown_fields`).
    pub ignored: Option<Counter>,
}

impl ResourceReader {
    /// Reads a resource as the message `type_name`; warnings go to the log.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read<T: DeserializeOwned>(
        &self,
        resource: &ConfigResource,
        type_name: &str,
        extensions: &ExtensionSet,
    ) -> Result<T, Report> {
        let reader = Reader::new(extensions).harmless(self.harmless);
        let reader = reader.tolerate_unknown_fields(self.unknown_fields != UnknownFields::Reject);
        let message = reader.read(&resource.node, resource.path.clone(), type_name);
        let report = reader.into_report();
        if report.has_errors() {
            return Err(report);
        }
        for warning in report.warnings() {
            self.ignored.iter().for_each(Counter::inc);
            if self.unknown_fields == UnknownFields::Warn {
                tracing::warn!(target: "config", "{warning}");
            }
        }
        message.ok_or(report)
    }
}
