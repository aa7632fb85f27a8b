//! What is counted of a subscription.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/mgmt_server#xds-subscription-statistics>

use std::{
    ops::Deref,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use xxhash_rust::xxh64::xxh64;

use crate::{stat_group, stats::Scope};

stat_group! {
    /// Those of every subscription.
    pub struct SubscriptionCounts {
        /// First answers that did not come in time.
        counter init_fetch_timeout,
        /// Attempts to get an answer.
        counter update_attempt,
        /// Attempts without a good answer.
        counter update_failure,
        /// Answers that were refused.
        counter update_rejected,
        /// Answers that were taken over.
        counter update_success,
        /// How long taking over took.
        histogram(Milliseconds) update_duration,
        /// When the last answer was taken over, in milliseconds since 1970.
        gauge update_time,
        /// A hash of the version that was taken over.
        gauge version,
        /// That version.
        text_readout version_text,
    }
}

/// The stats of a subscription, and where they stand.
#[derive(Debug, Clone)]
pub struct SubscriptionStats {
    counts: SubscriptionCounts,
    scope: Scope,
}

impl Deref for SubscriptionStats {
    type Target = SubscriptionCounts;

    fn deref(&self) -> &SubscriptionCounts {
        &self.counts
    }
}

impl SubscriptionStats {
    /// The stats below `scope`, made where they do not exist yet.
    pub fn new(scope: &Scope) -> Self {
        Self { counts: SubscriptionCounts::new(scope), scope: scope.clone() }
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn accepted(&self, version: &str, took: Duration) {
        self.update_success.inc();
        self.update_time.set(now_ms());
        self.version.set_hash(xxh64(version.as_bytes(), 0));
        self.version_text.set(version);
        self.update_duration.record(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

stat_group! {
    /// Those of what is loaded as a whole: clusters, a route configuration.
    pub struct ReloadStats {
        /// How often something changed.
        counter config_reload,
        /// When that was, in milliseconds since 1970.
        gauge config_reload_time_ms,
    }
}

impl ReloadStats {
    /// Something changed.
    pub fn reloaded(&self) {
        self.config_reload.inc();
        self.config_reload_time_ms.set(now_ms());
    }
}
