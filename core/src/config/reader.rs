//! From the tree to typed messages: reads any `serde::Deserialize` type by the rules of proto3 JSON and says all that
//! is wrong in one report.
//!
//! # How all errors come at once
//! serde stops at the first error, so an error must not reach serde if that can be helped. A scalar that cannot be
//! read is reported, and its visitor gets a default to go on with. Where that is not possible (a type's own
//! validation failed, a typed config is of an unknown type) the visitor is lost, and with it what is around it, up to
//! the next list, which ends early. Then the tree is read once more with the broken node left out, until nothing new
//! breaks: in the end every node was either read or reported. Reading is fast and errors are few, so the repetition
//! costs nothing that a person could notice.

mod choice;
mod error;
pub(crate) mod handoff;
mod leaf;
mod list;
mod map;
mod message;
mod node;
mod pass;
mod path;
mod typed;
mod unknown;

use std::{cell::RefCell, collections::HashSet, sync::Arc};

use serde::de::DeserializeOwned;

pub use self::typed::{Refused, TypedNode};
use self::{node::NodeDeserializer, pass::Pass, path::Path};
use super::{ConfigPath, Diagnostic, Node, Report, Severity, known};
use crate::extension::ExtensionSet;

/// How often a tree is read anew without a broken node before the rest is left for the next attempt of the user.
const MAX_PASSES: usize = 100;

/// Reads typed messages out of config trees and collects what is wrong with them.
#[derive(Debug)]
pub struct Reader<'e> {
    extensions: &'e ExtensionSet,
    harmless: HashSet<(&'e str, &'e str)>,
    allow_unknown_fields: bool,
    tolerate_unknown_fields: bool,
    report: RefCell<Report>,
}

impl<'e> Reader<'e> {
    /// A reader that resolves typed configs among `extensions`.
    pub fn new(extensions: &'e ExtensionSet) -> Self {
        Self {
            extensions,
            harmless: HashSet::new(),
            allow_unknown_fields: false,
            tolerate_unknown_fields: false,
            report: RefCell::default(),
        }
    }

    /// Fields of Envoy, as (message, field), that may be ignored with no more than a warning.
    #[must_use]
    pub fn harmless(mut self, fields: &[(&'e str, &'e str)]) -> Self {
        self.harmless.extend(fields);
        self
    }

    /// Makes unknown fields warnings, as Envoy's `--allow-unknown-static-fields` does.
    #[must_use]
    pub fn allow_unknown_fields(mut self, allow: bool) -> Self {
        self.allow_unknown_fields = allow;
        self
    }

    /// Makes fields warnings that nobody knows, as Envoy does in configuration that changes while it runs. What Envoy knows and
    /// is not implemented stays an error: to ignore it would change what happens to traffic.
    #[must_use]
    pub fn tolerate_unknown_fields(mut self, tolerate: bool) -> Self {
        self.tolerate_unknown_fields = tolerate;
        self
    }

    /// Reads the message at `node`, whose Envoy name is `message_type` (`envoy.config.bootstrap.v3.Bootstrap`).
    ///
    /// `path` is the way to `node`, for the messages. `None` means that the report now has errors.
    #[expect(clippy::needless_pass_by_value, reason = "most callers make the path for this call")]
    pub fn read<T: DeserializeOwned>(
        &self,
        node: &Arc<Node>,
        path: ConfigPath,
        message_type: &str,
    ) -> Option<T> {
        let value = self.deserialize(node, &path, message_type);
        let meets_demands = self.check_demands(node, &path, message_type);
        value.filter(|_| meets_demands)
    }

    /// Reports what does not meet Envoy's demands; whether there was nothing of that kind.
    fn check_demands(&self, node: &Node, path: &ConfigPath, message_type: &str) -> bool {
        let mut unmet = Report::new();
        known::check(message_type, node, path, &mut unmet);
        let mut report = self.report.borrow_mut();
        // Where the type itself has refused something, its words are enough.
        let refused: HashSet<ConfigPath> = report.errors().map(|error| error.path.clone()).collect();
        // What seems to be missing from a message may be the very field that was refused there.
        let incomplete: HashSet<ConfigPath> = refused.iter().map(ConfigPath::parent).collect();
        for error in unmet.diagnostics() {
            let said = refused.contains(&error.path) || refused.contains(&error.path.parent());
            if !said && !incomplete.contains(&error.path) {
                report.push(error.clone());
            }
        }
        unmet.is_empty()
    }

    fn deserialize<T: DeserializeOwned>(
        &self,
        node: &Arc<Node>,
        path: &ConfigPath,
        message_type: &str,
    ) -> Option<T> {
        let base = Path::Base(path, message_type);
        let mut pass = Pass::first(self);
        for _ in 0..MAX_PASSES {
            let result = handoff::while_reading(|| {
                NodeDeserializer { pass: &pass, node, path: base }.settle(|root| T::deserialize(root))
            });
            match pass.next(path) {
                Ok(next) => pass = next,
                Err(found) => {
                    let good = self.conclude(found);
                    return result.ok().filter(|_| good);
                }
            }
        }
        pass.error(base, node.location(), format!("there are more errors than these {MAX_PASSES}"));
        self.conclude(pass.everything());
        None
    }

    /// What was found so far, in the order of the files.
    pub fn into_report(self) -> Report {
        let mut report = self.report.into_inner();
        report.sort();
        report
    }

    /// Takes the diagnostics over; whether there is no error among them.
    fn conclude(&self, found: Vec<Diagnostic>) -> bool {
        let good = found.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
        let mut report = self.report.borrow_mut();
        for diagnostic in found {
            report.push(diagnostic);
        }
        good
    }
}

#[cfg(test)]
mod tests;
