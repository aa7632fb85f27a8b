//! What the filter counts.

use underpass_core::{
    stat_group,
    stats::{Counter, Scope},
};

use crate::config::Version;

stat_group! {
    /// `proxy_proto.[<stat_prefix>.]*`.
    pub(crate) struct GeneralStats {
        /// Connections without a header that were let through.
        counter not_found_allowed,
        /// Connections without a header that were turned away.
        counter not_found_disallowed,
    }
}

stat_group! {
    /// `proxy_proto.[<stat_prefix>.]versions.<version>.*`.
    pub(crate) struct VersionStats {
        /// Headers.
        counter found,
        /// Headers that were turned away because of their version; they count as found, too.
        counter disallowed,
        /// Headers with something wrong in them.
        counter error,
    }
}

pub(crate) struct Stats {
    /// All that was wrong, as Envoy counted it first.
    pub(crate) downstream_cx_proxy_proto_error: Counter,
    pub(crate) general: GeneralStats,
    v1: VersionStats,
    v2: VersionStats,
}

impl Stats {
    /// `root` is the root of all stats.
    pub(crate) fn new(root: &Scope, prefix: &str) -> Self {
        let scope = root.scope("proxy_proto").scope(prefix);
        let versions = scope.scope("versions");
        Self {
            downstream_cx_proxy_proto_error: root.counter("downstream_cx_proxy_proto_error"),
            general: GeneralStats::new(&scope),
            v1: VersionStats::new(&versions.scope("v1")),
            v2: VersionStats::new(&versions.scope("v2")),
        }
    }

    pub(crate) fn version(&self, version: Version) -> &VersionStats {
        match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        }
    }
}
