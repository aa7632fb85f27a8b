//! Subscriptions to configuration that changes while the process runs: the seam between those who need resources
//! (listeners, clusters, endpoints, routes) and the sources that have them (files, control planes).
//!
//! A source is a crate's [`ConfigSourceFactory`], registered for the [`SourceKind`]s that it serves:
//!
//! ```
//! # use std::sync::Arc;
//! # use underpass_core::{build_context::BuildError, config::{ConfigPath, ConfigSource, SourceKind}, extension::Registration, server::ServerContext};
//! # use underpass_core::config_subscription::*;
//! struct MySource;
//!
//! underpass_core::__private::inventory::submit! {
//!     ConfigSourceRegistration {
//!         registration: Registration::named(CONFIG_SOURCE_CATEGORY, "my.source", env!("CARGO_PKG_NAME"), "Asks an oracle."),
//!         kind: SourceKind::OwnServer,
//!         factory: &MySource,
//!     }
//! }
//!
//! impl ConfigSourceFactory for MySource {
//!     fn check(&self, _: &ConfigSource, _: &ConfigPath, _: &Arc<ServerContext>) -> Result<(), BuildError> {
//!         Ok(())
//!     }
//!     fn subscribe(&self, _: &ConfigSource, delivery: Delivery, _: &Arc<ServerContext>) -> Box<dyn Subscription> {
//!         // Later, on the main thread: `delivery.attempt()`, then `delivery.deliver(…)` or `delivery.fail(…)`.
//!         Box::new(Kept(delivery))
//!     }
//! }
//!
//! struct Kept(Delivery);
//! impl Subscription for Kept {}
//! ```
//!
//! Whoever needs resources implements [`ConfigWatcher`] and calls [`subscribe`]. What the watcher answers to an update is the
//! ACK or NACK. Everything happens on the main thread, in its runtime.

mod accepted;
mod delivery;
mod reading;
mod stats;

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

pub use self::{
    accepted::{AcceptedPlace, AcceptedResource, AcceptedResources},
    delivery::Delivery,
    reading::{ResourceReader, UnknownFields},
    stats::{ReloadStats, SubscriptionCounts, SubscriptionStats},
};
use crate::{
    build_context::BuildError,
    config::{ApiVersion, ConfigPath, ConfigSource, Node, RawMessage, SourceKind},
    extension::{NamedExtensions, Registration},
    server::ServerContext,
};

/// A version of a resource.
#[derive(Debug, Clone)]
pub struct ConfigResource {
    /// Its name, unique among those of its type.
    pub name: Arc<str>,
    /// Its version; where resources have none of their own, that of the answer it came in.
    pub version: Arc<str>,
    /// The message, without `@type`. Its marks say where it stands in its file.
    pub node: Arc<Node>,
    /// The way to it in its file or answer, such as `resources[0]`.
    pub path: ConfigPath,
    /// How long it lives unless it is sent again; absent, for ever. The source removes it then.
    pub time_to_live: Option<Duration>,
}

/// What a source says of the resources of a type.
#[derive(Debug, Clone)]
pub struct ConfigUpdate {
    /// The version of the answer.
    pub version: Arc<str>,
    /// The resources that are there, or have changed.
    pub resources: Vec<ConfigResource>,
    /// What is gone.
    pub gone: Gone,
}

/// Which resources are gone after an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gone {
    /// All that the update does not name, if the type is one of which everything is wanted (listeners, clusters): the
    /// update tells the state of the world.
    Rest,
    /// These.
    Named(Vec<Arc<str>>),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchFailure {
    /// The source cannot be reached, or what it says cannot be understood.
    Unavailable,
    /// The first answer did not come in time.
    TimedOut,
    /// The watcher refused the answer.
    Rejected,
}

/// Takes over what a source says.
pub trait ConfigWatcher: Send + Sync {
    /// Takes over an update.
    ///
    /// # Errors
    /// Everything that is wrong, to be logged and sent back to the source. What was right of it may have been taken over; the
    /// last good version of the rest stays.
    fn update(&self, update: &ConfigUpdate) -> Result<(), String>;

    /// There is no good answer. Whoever waits for the first one shall not wait longer.
    fn failed(&self, why: FetchFailure);

    /// Whether it has what it needs already, so that a first answer that does not come is no failure.
    fn is_served(&self) -> bool {
        false
    }
}

/// A subscription; dropping it ends it.
pub trait Subscription: Send + Sync {
    /// Asks for other names from now on.
    fn set_names(&self, _names: &[Arc<str>]) {}
}

/// Makes subscriptions to sources of one kind.
pub trait ConfigSourceFactory: Send + Sync {
    /// Checks a source that stands at `path`, when the configuration is built. Nothing is opened.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(
        &self,
        source: &ConfigSource,
        path: &ConfigPath,
        server: &Arc<ServerContext>,
    ) -> Result<(), BuildError>;

    /// Subscribes. The first answer may be delivered before this returns.
    fn subscribe(
        &self,
        source: &ConfigSource,
        delivery: Delivery,
        server: &Arc<ServerContext>,
    ) -> Box<dyn Subscription>;
}

/// The category under which sources are listed.
pub const CONFIG_SOURCE_CATEGORY: &str = "config source";

/// What a crate submits to inventory to serve a kind of source. Two for one kind fail at start-up.
pub struct ConfigSourceRegistration {
    /// Name and provider, for the list of extensions.
    pub registration: Registration,
    /// The kind of source.
    pub kind: SourceKind,
    /// Makes subscriptions.
    pub factory: &'static dyn ConfigSourceFactory,
}

inventory::collect!(ConfigSourceRegistration);

inventory::submit! {
    NamedExtensions(|| inventory::iter::<ConfigSourceRegistration>().map(|it| &it.registration).collect())
}

/// The control plane that `ads: {}` means: `dynamic_resources.ads_config`, an `envoy.config.core.v3.ApiConfigSource`. The
/// engine leaves it in the process's singletons before sources are checked.
pub struct AggregatedSource(pub RawMessage);

/// The clusters that stand in the bootstrap: control planes can be asked over them only. The engine leaves it in the process's
/// singletons before sources are checked.
#[derive(Debug, Clone, Default)]
pub struct StaticClusters(BTreeMap<String, bool>);

impl StaticClusters {
    /// Clusters by name, and whether the endpoints come from a source themselves.
    pub fn new<N: Into<String>>(clusters: impl IntoIterator<Item = (N, bool)>) -> Self {
        Self(clusters.into_iter().map(|(name, discovered)| (name.into(), discovered)).collect())
    }

    /// Whether there is such a cluster.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether its endpoints come from a source themselves.
    pub fn is_discovered(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|discovered| *discovered)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// What somebody wants from a source.
pub struct SubscriptionRequest<'a> {
    /// The source.
    pub source: &'a ConfigSource,
    /// The message name of the resources, such as `envoy.config.listener.v3.Listener`.
    pub type_name: &'static str,
    /// Their names; empty for all.
    pub names: Vec<Arc<str>>,
    /// What is counted.
    pub stats: SubscriptionStats,
    /// Told what the source says, as long as somebody holds it.
    pub watcher: Weak<dyn ConfigWatcher>,
}

/// Whether a source can be subscribed to, when the configuration is built: nothing is opened.
///
/// # Errors
/// What is wrong with the source that stands at `path`.
pub fn check(
    source: &ConfigSource,
    path: &ConfigPath,
    server: &Arc<ServerContext>,
) -> Result<(), BuildError> {
    let Some(kind) = source.kind() else {
        let message =
            "names no source: one of path_config_source, api_config_source, ads and self has to be set";
        return Err(BuildError::at(path.clone(), message));
    };
    let Some(factory) = factory(kind)? else {
        let message = match kind {
            SourceKind::Path => "no linked crate reads configuration from files".to_owned(),
            other => format!("{} is not implemented yet; use path_config_source", other.field()),
        };
        return Err(BuildError::at(path.field(kind.field()), message));
    };
    factory.check(source, path, server)
}

/// What deserves a word about a source that stands at `path`. As in Envoy, it is used all the same.
pub fn deprecation(source: &ConfigSource, path: &ConfigPath) -> Option<BuildError> {
    (source.resource_api_version == ApiVersion::V2).then(|| {
        let message = "`V2` is deprecated: version 2 has been removed, so version 3 is used; say `V3`";
        BuildError::at(path.field("resource_api_version"), message)
    })
}

/// Subscribes to a source that was [checked](check). To be called on the main thread, in its runtime.
///
/// If the first answer does not come within `initial_fetch_timeout`, the watcher is told so.
pub fn subscribe(request: SubscriptionRequest<'_>, server: &Arc<ServerContext>) -> Box<dyn Subscription> {
    let SubscriptionRequest { source, type_name, names, stats, watcher } = request;
    let delivery = Delivery::new(type_name, names, stats, watcher);
    if server.options.validate && source.kind() != Some(SourceKind::Path) {
        // Files are read when a configuration is checked; nobody is asked.
        delivery.without_answer(FetchFailure::Unavailable);
        return Box::new(Nothing);
    }
    let Some(factory) = source.kind().and_then(|kind| factory(kind).ok().flatten()) else {
        delivery.fail("there is no such source");
        return Box::new(Nothing);
    };
    let timer = source.initial_fetch_timeout_or_none().map(|timeout| (timeout, delivery.timer()));
    let subscription = factory.subscribe(source, delivery, server);
    if let Some((timeout, timer)) = timer.filter(|(_, timer)| timer.is_waiting()) {
        tokio::spawn(timer.run(timeout));
    }
    subscription
}

struct Nothing;

impl Subscription for Nothing {}

fn factory(kind: SourceKind) -> Result<Option<&'static dyn ConfigSourceFactory>, BuildError> {
    let mut found = inventory::iter::<ConfigSourceRegistration>().filter(|it| it.kind == kind);
    match (found.next(), found.next()) {
        (Some(first), Some(second)) => Err(BuildError::new(format!(
            "two crates serve {}: {} and {}; link only one of them",
            kind.field(),
            first.registration.provider,
            second.registration.provider
        ))),
        (first, _) => Ok(first.map(|it| it.factory)),
    }
}

#[cfg(test)]
mod tests;
