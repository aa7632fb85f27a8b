//! Reading resources into typed messages, by the same rules wherever they come from.

use serde::de::DeserializeOwned;

use super::ConfigResource;
use crate::{
    config::{Reader, Report},
    extension::ExtensionSet,
    stats::Counter,
};

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
