//! A network filter that lets connections in from certain addresses only.

use std::sync::Arc;

use serde::Deserialize;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    config::{CidrRange, NonEmptyString},
    connection::{BoxFuture, Connection, ConnectionError},
    extension,
    network_filter::{NetworkFilter, NetworkFilterConfig, Next},
    stats::Counter,
};

/// What a configuration says: inert, and checked while it is read.
#[derive(Debug, Deserialize)]
struct AllowList {
    /// The middle of the names of its stats.
    stat_prefix: NonEmptyString,
    /// Who may come in.
    #[serde(default)]
    ranges: Vec<CidrRange>,
}

/// Lets connections in from certain addresses only.
#[extension(
    name = "example.filters.network.allow_list",
    type_url = "type.googleapis.com/example.allow_list.v1.AllowList"
)]
impl NetworkFilterConfig for AllowList {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn NetworkFilter>, BuildError> {
        if self.ranges.is_empty() {
            return Err(
                context.error_at("ranges", "is empty, so that nobody could come in; name at least one range")
            );
        }
        let stats = context.server.stats.scope("allow_list").scope(self.stat_prefix.as_str());
        Ok(Arc::new(AllowListFilter {
            ranges: self.ranges.clone(),
            allowed: stats.counter("allowed"),
            denied: stats.counter("denied"),
        }))
    }
}

/// What runs: shared by all workers and connections.
struct AllowListFilter {
    ranges: Vec<CidrRange>,
    allowed: Counter,
    denied: Counter,
}

impl NetworkFilter for AllowListFilter {
    fn serve<'a>(
        &'a self,
        connection: Connection,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<(), ConnectionError>> {
        let remote = connection.info.addresses.borrow().remote().socket();
        let welcome =
            remote.is_some_and(|address| self.ranges.iter().any(|range| range.contains(address.ip())));
        if welcome {
            self.allowed.inc();
            next.run(connection)
        } else {
            self.denied.inc();
            // Dropping the connection closes it.
            Box::pin(async { Ok(()) })
        }
    }
}

#[cfg(test)]
mod tests;
