//! What the rules of one direction count.

use underpass_core::stats::{Counter, Scope};

pub(crate) struct RuleStats {
    pub(crate) rules_processed: Counter,
    pub(crate) metadata_added: Counter,
    pub(crate) header_not_found: Counter,
    /// These are shared by both directions.
    pub(crate) base64_decode_failed: Counter,
    pub(crate) header_value_too_long: Counter,
    pub(crate) regex_substitution_failed: Counter,
}

impl RuleStats {
    /// `direction` is `request` or `response`.
    pub(crate) fn new(scope: &Scope, direction: &str) -> Self {
        let counter = |name: &str| scope.counter(&format!("{direction}_{name}"));
        Self {
            rules_processed: counter("rules_processed"),
            metadata_added: counter("metadata_added"),
            header_not_found: counter("header_not_found"),
            base64_decode_failed: scope.counter("base64_decode_failed"),
            header_value_too_long: scope.counter("header_value_too_long"),
            regex_substitution_failed: scope.counter("regex_substitution_failed"),
        }
    }
}
