//! Names of stats, and what tag rules make of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::numbers::Block;
use super::tags::{TagRules, Tagged};

/// The name of a stat.
///
/// The full name is what `/stats` lists; tags are extracted when somebody first asks, since most processes are never
/// scraped for them.
#[derive(Debug)]
pub struct StatName(Form);

#[derive(Debug)]
enum Form {
    /// It keeps its tags itself.
    Own { full: Arc<str>, rules: Arc<TagRules>, tagged: OnceLock<Box<Tagged>> },
    /// Made for a snapshot; the block keeps the tags.
    Listed { full: Box<str>, block: Arc<Block>, index: usize },
}

impl StatName {
    pub(super) fn new(full: &str, rules: &Arc<TagRules>) -> Self {
        Self(Form::Own { full: full.into(), rules: Arc::clone(rules), tagged: OnceLock::new() })
    }

    pub(super) fn listed(full: Box<str>, block: Arc<Block>, index: usize) -> Self {
        Self(Form::Listed { full, block, index })
    }

    /// The full name, `cluster.up.upstream_cx_total`.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Own { full, .. } => full,
            Form::Listed { full, .. } => full,
        }
    }

    /// The name without what the tags hold, and the tags.
    pub fn tagged(&self) -> &Tagged {
        match &self.0 {
            Form::Own { full, rules, tagged } => tagged.get_or_init(|| Box::new(rules.extract(full))),
            Form::Listed { full, block, index } => block.tagged(*index, full),
        }
    }

    pub(super) fn shared(&self) -> Arc<str> {
        match &self.0 {
            Form::Own { full, .. } => Arc::clone(full),
            Form::Listed { full, .. } => (&**full).into(),
        }
    }
}

impl fmt::Display for StatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
