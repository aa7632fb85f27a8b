//! Building what a configuration asks for, with every problem put where it stands in the file.

use std::{cell::RefCell, sync::Arc};

use underpass_core::{
    bootstrap_extension::{BootstrapExtension, BootstrapExtensionConfig},
    build_context::{BuildContext, BuildError},
    cluster::KnownClusters,
    config::{ConfigPath, ConfigSource, Document, Report},
    config_subscription::{self, AggregatedSource, StaticClusters},
    server::ServerContext,
};

use crate::{
    cluster_manager::{ClusterConfig, ClusterManager},
    config::{Bootstrap, cluster::DiscoveryType},
    listener_manager::{ListenerConfig, ListenerManager, Source},
};

/// What is wrong with a configuration, with the lines of the file it came from.
pub(super) struct Problems<'a> {
    pub(super) report: &'a mut Report,
    pub(super) document: &'a Document,
}

impl Problems<'_> {
    fn error(&mut self, error: BuildError) {
        let path = error.path.unwrap_or_default();
        // What is wrong with `ads_config` would be said by everybody who uses it.
        if self.report.errors().any(|known| known.path == path && known.message == error.message) {
            return;
        }
        let location = self.document.locate(&path);
        self.report.error(path, Some(location), error.message);
    }

    pub(super) fn errors(&mut self, errors: Vec<BuildError>) {
        errors.into_iter().for_each(|error| self.error(error));
    }

    pub(super) fn warnings(&mut self, warnings: Vec<BuildError>) {
        for warning in warnings {
            let path = warning.path.unwrap_or_default();
            let location = self.document.locate(&path);
            self.report.warning(path, Some(location), warning.message);
        }
    }

    pub(super) fn collect<T>(&mut self, result: Result<T, BuildError>) -> Option<T> {
        result.map_err(|error| self.error(error)).ok()
    }

    pub(super) fn build_extensions(
        &mut self,
        bootstrap: &Bootstrap,
        server: &Arc<ServerContext>,
    ) -> Vec<Arc<dyn BootstrapExtension>> {
        let warnings = RefCell::default();
        let context = BuildContext::new(server, &server.stats, ConfigPath::root(), &warnings);
        let mut built = Vec::new();
        for extension in &bootstrap.bootstrap_extensions {
            let result = context.build(&extension.typed_config, BootstrapExtensionConfig::build);
            built.extend(self.collect(result));
        }
        self.warnings(warnings.take());
        built
    }

    pub(super) fn build_clusters(
        &mut self,
        bootstrap: &Bootstrap,
        server: &Arc<ServerContext>,
    ) -> Option<Arc<ClusterManager>> {
        let manager = self.collect(ClusterManager::new(server, &bootstrap.cluster_manager))?;
        let warnings = RefCell::default();
        for config in static_clusters(bootstrap, self.document) {
            let added = manager.add_or_update(&config, &warnings);
            self.collect(added);
        }
        self.warnings(warnings.take());
        let known = Arc::downgrade(&manager);
        let has = move |name: &str| known.upgrade().is_some_and(|manager| manager.has(name));
        server.singletons.insert(Arc::new(KnownClusters(Box::new(has))));
        manager.add_to_admin();
        Some(manager)
    }

    /// Leaves what sources need to know of the bootstrap where they look for it.
    pub(super) fn announce_sources(bootstrap: &Bootstrap, server: &Arc<ServerContext>) {
        if let Some(ads) = &bootstrap.dynamic_resources.ads_config {
            server.singletons.insert(Arc::new(AggregatedSource(ads.clone())));
        }
        let clusters = bootstrap.static_resources.clusters.iter();
        let clusters =
            clusters.map(|cluster| (cluster.name.clone(), cluster.discovery_type == DiscoveryType::Eds));
        server.singletons.insert(Arc::new(StaticClusters::new(clusters)));
    }

    /// Whether there are subscriptions to the sources of configuration.
    pub(super) fn check_sources(&mut self, bootstrap: &Bootstrap, server: &Arc<ServerContext>) {
        let path = ConfigPath::root().field("dynamic_resources");
        let dynamic = &bootstrap.dynamic_resources;
        for (field, source) in [("lds_config", &dynamic.lds_config), ("cds_config", &dynamic.cds_config)] {
            if let Some(source) = source {
                let path = path.field(field);
                self.collect(config_subscription::check(source, &path, server));
                self.warnings(config_subscription::deprecation(source, &path).into_iter().collect());
            }
        }
        // Also if nobody uses it yet: what comes later would only fail.
        if let Some(ads) = &dynamic.ads_config {
            let source = ConfigSource { ads: Some(ads.clone()), ..ConfigSource::default() };
            self.collect(config_subscription::check(&source, &path.field("ads_config"), server));
        }
    }

    pub(super) fn build_listeners(
        &mut self,
        bootstrap: &Bootstrap,
        server: &Arc<ServerContext>,
    ) -> Arc<ListenerManager> {
        let manager = ListenerManager::new(server, &bootstrap.overload_manager);
        let warnings = RefCell::default();
        for config in static_listeners(bootstrap, self.document) {
            let added = manager.add_or_update(&config, &warnings);
            self.collect(added);
        }
        self.warnings(warnings.take());
        manager
    }
}

/// The clusters of a configuration, and where they stand in it.
pub(super) fn static_clusters<'b>(bootstrap: &'b Bootstrap, document: &Document) -> Vec<ClusterConfig<'b>> {
    let path = ConfigPath::root().field("static_resources").field("clusters");
    let clusters = bootstrap.static_resources.clusters.iter().enumerate();
    let config = |(index, message)| {
        let path = path.index(index);
        ClusterConfig { message, node: document.find(&path), path, version: None }
    };
    clusters.map(config).collect()
}

/// The listeners of a configuration, and where they stand in it.
pub(super) fn static_listeners<'b>(bootstrap: &'b Bootstrap, document: &Document) -> Vec<ListenerConfig<'b>> {
    let path = ConfigPath::root().field("static_resources").field("listeners");
    let listeners = bootstrap.static_resources.listeners.iter().enumerate();
    let config = |(index, message)| {
        let path = path.index(index);
        ListenerConfig { message, node: document.find(&path), path, source: Source::Static }
    };
    listeners.map(config).collect()
}
