//! The route discovery service (RDS): a route configuration that a source has.
//!
//! Connection managers that ask the same source for the same name share one subscription, and so a listener that is replaced
//! has its routes at once. Until there is an answer no request finds a route, but then a listener waits for it before it
//! serves.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/rds>

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use underpass_core::{
    build_context::{BuildContext, BuildError},
    cluster::KnownClusters,
    config::{ConfigPath, ConfigSource},
    config_subscription::{
        self, AcceptedPlace, AcceptedResources, ConfigResource, ConfigUpdate, ConfigWatcher, FetchFailure,
        ReloadStats, Subscription, SubscriptionRequest, SubscriptionStats,
    },
    init::InitTarget,
    server::ServerContext,
    stats::{Counter, Scope},
    stream_info::ListenerInfo,
};
use underpass_http::{
    filter::HttpFilterContext,
    route::{RouteConfiguration, RouteTable},
};

use crate::config::Rds;

const ROUTE_CONFIGURATION: &str = "envoy.config.route.v3.RouteConfiguration";

/// The route configurations of a process that come from sources, by what they are asked for.
#[derive(Default)]
struct All(Mutex<HashMap<String, Weak<DiscoveredRoutes>>>);

/// A route configuration that a source has.
pub(crate) struct DiscoveredRoutes {
    name: Arc<str>,
    source: ConfigSource,
    server: Arc<ServerContext>,
    /// What the first connection manager that asked for it said; filters of routes are built with it.
    scope: Scope,
    listener: Option<Arc<ListenerInfo>>,
    stat_prefix: String,
    stats: RouteDiscoveryStats,
    table: ArcSwap<RouteTable>,
    state: Mutex<State>,
    subscription: OnceLock<Box<dyn Subscription>>,
}

struct RouteDiscoveryStats {
    subscription: SubscriptionStats,
    reloads: ReloadStats,
    update_empty: Counter,
}

#[derive(Default)]
struct State {
    /// There was an answer, or it is known that there will be none.
    answered: bool,
    /// Those who wait for it.
    waiting: Vec<InitTarget>,
    /// What is in use, for `/config_dump`, and its hash.
    accepted: Option<(u64, AcceptedPlace)>,
}

impl DiscoveredRoutes {
    /// What `rds` asks for, which somebody else may have asked for before.
    pub(crate) fn of(
        rds: &Rds,
        stat_prefix: &str,
        context: &BuildContext<'_>,
    ) -> Result<Arc<Self>, BuildError> {
        let key = format!("{stat_prefix} {} {}", rds.route_config_name, rds.config_source.identity());
        let all = context.server.singletons.get_or_insert_with(All::default);
        let mut all = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = match all.get(&key).and_then(Weak::upgrade) {
            Some(present) => present,
            None => Arc::new(Self::new(rds, stat_prefix, context)?),
        };
        all.retain(|_, routes| routes.strong_count() > 0);
        all.insert(key, Arc::downgrade(&routes));
        drop(all);
        routes.wait(context);
        Ok(routes)
    }

    fn new(rds: &Rds, stat_prefix: &str, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let filter_context = HttpFilterContext { build: context, name: "", stat_prefix };
        let none = RouteTable::build(&RouteConfiguration::default(), &ConfigPath::root(), &filter_context)?;
        let scope = context.server.stats.scope(&format!("{stat_prefix}rds.{}", rds.route_config_name));
        Ok(Self {
            name: rds.route_config_name.as_str().into(),
            source: rds.config_source.clone(),
            server: Arc::clone(context.server),
            scope: context.scope.clone(),
            listener: context.listener.cloned(),
            stat_prefix: stat_prefix.to_owned(),
            stats: RouteDiscoveryStats {
                subscription: SubscriptionStats::new(&scope),
                reloads: ReloadStats::new(&scope),
                update_empty: scope.counter("update_empty"),
            },
            table: ArcSwap::new(none),
            state: Mutex::default(),
            subscription: OnceLock::new(),
        })
    }

    /// The routes as they are now.
    pub(crate) fn current(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// Makes the listener wait for the first answer.
    fn wait(self: &Arc<Self>, context: &BuildContext<'_>) {
        if self.lock().answered {
            return;
        }
        // If the listener comes to nothing, so does this.
        let routes = Arc::downgrade(self);
        context.init.add_to_start(format!("RdsRouteConfigSubscription init {}", self.name), move |target| {
            if let Some(routes) = routes.upgrade() {
                routes.begin(target);
            }
        });
    }

    fn begin(self: &Arc<Self>, target: InitTarget) {
        let mut state = self.lock();
        if state.answered {
            return;
        }
        state.waiting.push(target);
        drop(state);
        if self.subscription.get().is_some() {
            return;
        }
        let watcher: Arc<dyn ConfigWatcher> = Arc::clone(self) as _;
        let request = SubscriptionRequest {
            source: &self.source,
            type_name: ROUTE_CONFIGURATION,
            names: vec![Arc::clone(&self.name)],
            stats: self.stats.subscription.clone(),
            watcher: Arc::downgrade(&watcher),
        };
        // There is none yet: all of this happens on the main thread.
        let _ = self.subscription.set(config_subscription::subscribe(request, &self.server));
    }

    fn take_over(&self, resource: &ConfigResource) -> Result<(), String> {
        let hash = resource.node.stable_hash();
        if self.lock().accepted.as_ref().is_some_and(|(present, _)| *present == hash) {
            return Ok(());
        }
        let read = self.server.resources.read::<RouteConfiguration>(
            resource,
            ROUTE_CONFIGURATION,
            &self.server.extensions,
        );
        let config = read.map_err(|report| report.to_string())?;
        self.check_clusters(&config, resource)?;
        let warnings = RefCell::default();
        let mut context = BuildContext::new(&self.server, &self.scope, resource.path.clone(), &warnings);
        context.listener = self.listener.as_ref();
        let filter_context = HttpFilterContext { build: &context, name: "", stat_prefix: &self.stat_prefix };
        let table = RouteTable::build(&config, &resource.path, &filter_context);
        resource.warn(warnings.take());
        self.table.store(table.map_err(|error| resource.explain(&error))?);
        self.stats.reloads.reloaded();
        let all = AcceptedResources::of(&self.server.singletons);
        let place = AcceptedPlace::new(&all, ROUTE_CONFIGURATION, resource);
        self.lock().accepted = Some((hash, place));
        Ok(())
    }

    /// Routes that come from a source may name clusters that come later, unless they say otherwise; those that stand in a
    /// connection manager may not. Both as in Envoy (`validate_clusters`).
    fn check_clusters(&self, config: &RouteConfiguration, resource: &ConfigResource) -> Result<(), String> {
        let known = self.server.singletons.get::<KnownClusters>();
        let Some(known) = known.filter(|_| config.validate_clusters == Some(true)) else { return Ok(()) };
        let references = config.cluster_references("").into_iter();
        let unmet: Vec<_> = references
            .filter(|reference| !known.0(&reference.cluster))
            .filter_map(|reference| Some((reference.refusal?, reference.field)))
            .map(|(refusal, field)| resource.explain(&BuildError::at(resource.path.below(&field), refusal)))
            .collect();
        if unmet.is_empty() { Ok(()) } else { Err(unmet.join("\n")) }
    }

    /// Nobody has to wait any more.
    fn answered(&self) {
        let mut state = self.lock();
        state.answered = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConfigWatcher for DiscoveredRoutes {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        let outcome = update.only(&self.name, "RDS configuration").and_then(|found| {
            if let Some(resource) = found {
                return self.take_over(resource);
            }
            self.stats.update_empty.inc();
            Ok(())
        });
        if let Err(why) = &outcome {
            tracing::warn!(target: "rds", "rds: route config '{}' rejected: {why}", self.name);
        }
        self.answered();
        outcome
    }

    fn failed(&self, _: FetchFailure) {
        self.answered();
    }
}
