//! Names of stats, and what tag rules make of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::tags::{TagRules, Tagged};

/// The name of a stat.
///
/// The full name is what `/stats` lists; tags are extracted when somebody first asks, since most processes are never
/// scraped for them.
#[derive(Debug)]
pub struct StatName {
    full: Arc<str>,
    rules: Arc<TagRules>,
    tagged: OnceLock<Tagged>,
}

impl StatName {
    pub(super) fn new(full: &str, rules: &Arc<TagRules>) -> Self {
        Self { full: full.into(), rules: Arc::clone(rules), tagged: OnceLock::new() }
    }

    /// The full name, `cluster.up.upstream_cx_total`.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The name without what the tags hold, and the tags.
    pub fn tagged(&self) -> &Tagged {
        self.tagged.get_or_init(|| self.rules.extract(&self.full))
    }

    pub(super) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.full)
    }
}

impl fmt::Display for StatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}
