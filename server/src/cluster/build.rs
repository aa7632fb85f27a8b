//! From a cluster's configuration to one that runs.

mod limits;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use underpass_core::{
    build_context::{BuildContext, BuildError},
    cluster::{ClusterInfo, Host, TrafficStats},
    config::{self, ConfigPath},
    protocol_options::ProtocolOptions,
    server::ServerContext,
    server::Singletons,
    stats::Scope,
    transport_socket::{UpstreamTransportSocket, UpstreamTransportSocketConfig},
};

use super::{
    directory::Directory,
    discovery::{Discovery, EndpointDiscovery, LogicalDns, ONE_ENDPOINT, OriginalDst, Refresh, StrictDns},
    dns::{DnsOptions, HickoryLookup, Lookup},
    endpoint,
    load_balancer::Policy,
    membership::{HostIds, Membership},
    shared::SharedCluster,
    stats::ClusterStats,
};
use crate::{
    client_connection::socket_setup::UpstreamSockets,
    config::{
        bootstrap,
        cluster::{Cluster, DiscoveryType},
        load_balancing::LbPolicy,
    },
};

/// What all clusters are built with.
pub(crate) struct Environment {
    server: Arc<ServerContext>,
    directory: Arc<Directory>,
    host_ids: Arc<HostIds>,
    /// What holds for all clusters.
    defaults: bootstrap::ClusterManager,
    lookups: Mutex<HashMap<DnsOptions, Arc<dyn Lookup>>>,
}

/// A version of a cluster that was built, but is not known to anybody.
pub(crate) struct Built {
    /// The cluster.
    pub cluster: Arc<SharedCluster>,
    /// How it finds its hosts, if they are not known already.
    pub discovery: Option<Arc<dyn Discovery>>,
    /// Whether the start waits for its first hosts.
    pub wait_at_start: bool,
}

/// What a new version takes over from the one before.
#[derive(Default)]
pub(crate) struct Inheritance<'a> {
    /// The version before.
    pub previous: Option<&'a SharedCluster>,
    /// Whether connections are made in the same way, so that hosts can stay the same.
    pub keeps_hosts: bool,
}

impl Environment {
    /// For clusters of a process.
    pub(crate) fn new(
        server: &Arc<ServerContext>,
        directory: &Arc<Directory>,
        defaults: &bootstrap::ClusterManager,
    ) -> Self {
        Self {
            server: Arc::clone(server),
            directory: Arc::clone(directory),
            host_ids: Arc::default(),
            defaults: defaults.clone(),
            lookups: Mutex::default(),
        }
    }

    /// Builds a version of a cluster. Nothing is opened or started.
    pub(crate) fn build(
        &self,
        config: &Cluster,
        path: &ConfigPath,
        inheritance: &Inheritance<'_>,
        warnings: &RefCell<Vec<BuildError>>,
    ) -> Result<Built, BuildError> {
        refuse_what_is_not_implemented(config, path)?;
        limits::check_per_host(&config.circuit_breakers, path)?;
        let scope = self.server.stats.scope(&format!("cluster.{}", config.observability_name()));
        let context = BuildContext::new(&self.server, &scope, path.clone(), warnings);
        self.warn(config, &context);
        let policy = Arc::new(Policy::new(config, &context)?);
        let stats = ClusterStats::new(&scope);
        let info = Arc::new(self.info(config, path, &scope, &context, inheritance)?);
        let membership = self.membership(config, &policy, &stats, inheritance);
        let original_dst = OriginalDst::new(config, path)?.map(Arc::new);
        let mut cluster = SharedCluster::new(
            info,
            policy,
            stats,
            membership,
            config.common_lb_config.close_connections_on_host_set_change,
            &self.directory,
        );
        let discovery = match &original_dst {
            Some(original_dst) => Some(Arc::clone(original_dst) as _),
            None => self.discovery(config, path, &cluster)?,
        };
        cluster.original_dst = original_dst;
        if config.discovery_type == DiscoveryType::Eds {
            cluster.eds_service_name = Some(config.eds_service_name().into());
        }
        let wait_at_start = config.wait_for_warm_on_init.unwrap_or(true);
        Ok(Built { cluster: Arc::new(cluster), discovery, wait_at_start })
    }

    /// Gives a cluster of type `STATIC` the hosts of a changed assignment.
    pub(crate) fn reassign(
        config: &Cluster,
        path: &ConfigPath,
        cluster: &SharedCluster,
    ) -> Result<(), BuildError> {
        let assignment = config.load_assignment.as_ref();
        let hosts = endpoint::hosts(assignment, &path.field("load_assignment"))?;
        cluster.assign(hosts, endpoint::assignment_policy(assignment));
        Ok(())
    }

    fn warn(&self, config: &Cluster, context: &BuildContext<'_>) {
        if config.common_lb_config.zone_aware_lb_config.is_some()
            && !self.defaults.local_cluster_name.is_empty()
        {
            let message = "zone-aware routing is not implemented yet: hosts of all zones are used alike";
            context.warn(context.error_at("common_lb_config", message));
        }
    }

    fn info(
        &self,
        config: &Cluster,
        path: &ConfigPath,
        scope: &Scope,
        context: &BuildContext<'_>,
        inheritance: &Inheritance<'_>,
    ) -> Result<ClusterInfo, BuildError> {
        let sockets = UpstreamSockets::new(
            &config.name,
            self.bind_config(config, path),
            &config.upstream_connection_options,
        )?;
        Ok(ClusterInfo {
            name: config.name.as_str().into(),
            observability_name: config.observability_name().into(),
            metadata: config.metadata.clone(),
            connect_timeout: config.connect_timeout_or_default(),
            buffer_limit: usize::try_from(config.buffer_limit_or_default()).unwrap_or(usize::MAX),
            stats: TrafficStats::new(scope),
            circuit_breakers: limits::circuit_breakers(config, context, inheritance),
            transport_socket: transport_socket(config, context)?,
            socket_setup: sockets.map(|sockets| Arc::new(sockets) as _),
            balances_by_hash: matches!(config.lb_policy, LbPolicy::RingHash | LbPolicy::Maglev),
            scope: scope.clone(),
            protocol_options: protocol_options(config, context)?,
            kept: Singletons::default(),
            response_stats: OnceLock::new(),
        })
    }

    /// The cluster's own `upstream_bind_config`, or that of all clusters.
    fn bind_config<'c>(
        &'c self,
        config: &'c Cluster,
        path: &ConfigPath,
    ) -> Option<(&'c crate::config::socket::BindConfig, ConfigPath)> {
        let field = "upstream_bind_config";
        let own = config.upstream_bind_config.as_ref().map(|bind| (bind, path.field(field)));
        let of_all = || {
            let path = ConfigPath::root().field("cluster_manager").field(field);
            self.defaults.upstream_bind_config.as_ref().map(|bind| (bind, path))
        };
        own.or_else(of_all)
    }

    fn membership(
        &self,
        config: &Cluster,
        policy: &Arc<Policy>,
        stats: &ClusterStats,
        inheritance: &Inheritance<'_>,
    ) -> Membership {
        let assignment = endpoint::assignment_policy(config.load_assignment.as_ref());
        let inherited: Vec<Arc<Host>> = match inheritance.previous {
            Some(previous) if inheritance.keeps_hosts => previous.membership.hosts(),
            _ => Vec::new(),
        };
        let threads = self.server.options.concurrency as u64 + 1;
        Membership::new(
            Arc::clone(policy),
            assignment,
            stats.clone(),
            Arc::clone(&self.host_ids),
            threads,
            inherited,
        )
    }

    fn discovery(
        &self,
        config: &Cluster,
        path: &ConfigPath,
        cluster: &SharedCluster,
    ) -> Result<Option<Arc<dyn Discovery>>, BuildError> {
        if config.discovery_type == DiscoveryType::Static {
            Self::reassign(config, path, cluster)?;
            cluster.settle();
            return Ok(None);
        }
        if config.discovery_type == DiscoveryType::Eds {
            return Ok(Some(Arc::new(EndpointDiscovery::new(config, path, &self.server)?)));
        }
        let lookup = self.lookup(config, path)?;
        let path = path.field("load_assignment");
        let targets = endpoint::resolve_targets(config.load_assignment.as_ref(), &path)?;
        let family = config.dns_lookup_family;
        if config.discovery_type == DiscoveryType::LogicalDns {
            let logical = LogicalDns::new(lookup, family, refresh(config), targets);
            let logical = logical.ok_or_else(|| BuildError::at(path, ONE_ENDPOINT))?;
            return Ok(Some(Arc::new(logical)));
        }
        Ok(Some(Arc::new(StrictDns::new(lookup, family, refresh(config), targets))))
    }

    /// Clusters of the same options share a resolver.
    fn lookup(&self, config: &Cluster, path: &ConfigPath) -> Result<Arc<dyn Lookup>, BuildError> {
        let options = dns_options(config, path)?;
        let mut lookups = self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = lookups.get(&options) {
            return Ok(Arc::clone(present));
        }
        let lookup = HickoryLookup::new(&options).map_err(|error| {
            BuildError::at(path.clone(), format!("cannot set up a DNS resolver: {error}"))
        })?;
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        lookups.insert(options, Arc::clone(&lookup));
        Ok(lookup)
    }

    /// Makes all clusters that are built from now on look names up there.
    #[cfg(test)]
    pub(crate) fn set_lookup(&self, lookup: Arc<dyn Lookup>) {
        self.lookups.lock().unwrap_or_else(PoisonError::into_inner).insert(DnsOptions::default(), lookup);
    }
}

fn refuse_what_is_not_implemented(config: &Cluster, path: &ConfigPath) -> Result<(), BuildError> {
    if config.close_connections_on_host_health_failure {
        let message = "is not implemented yet: connections to a host stay when it turns unhealthy";
        return Err(BuildError::at(path.field("close_connections_on_host_health_failure"), message));
    }
    Ok(())
}

fn transport_socket(
    config: &Cluster,
    context: &BuildContext<'_>,
) -> Result<Option<Arc<dyn UpstreamTransportSocket>>, BuildError> {
    let Some(transport_socket) = &config.transport_socket else { return Ok(None) };
    let build = <dyn UpstreamTransportSocketConfig>::build;
    context.build(&transport_socket.typed_config, build).map(Some)
}

/// As in Envoy, options are found by their name in the map, whatever their type is.
fn protocol_options(config: &Cluster, context: &BuildContext<'_>) -> Result<ProtocolOptions, BuildError> {
    let mut built = ProtocolOptions::default();
    for (name, options) in &config.typed_extension_protocol_options {
        if name != options.name() {
            let at = context.path().field("typed_extension_protocol_options").key(name);
            return Err(BuildError::at(
                at,
                format!(
                    "Didn't find a registered network or http filter or protocol options implementation for name: \
                     '{name}'; options of this type belong under '{}'",
                    options.name()
                ),
            ));
        }
        built.push(context.build(options, |options, context| options.build(&config.name, context))?);
    }
    Ok(built)
}

fn refresh(config: &Cluster) -> Refresh {
    let after_failure = config.dns_failure_refresh_rate.as_ref();
    Refresh {
        interval: config.dns_refresh_rate_or_default(),
        after_failure: after_failure.map(|rate| (rate.base_interval, rate.max_interval_or_default())),
        jitter: config.dns_jitter.unwrap_or(Duration::ZERO),
        respect_ttl: config.respect_dns_ttl,
    }
}

/// `dns_resolution_config` overrides the older fields, as in Envoy.
fn dns_options(config: &Cluster, path: &ConfigPath) -> Result<DnsOptions, BuildError> {
    let (servers, path) = match &config.dns_resolution_config {
        Some(resolution) => (&resolution.resolvers, path.field("dns_resolution_config").field("resolvers")),
        None => (&config.dns_resolvers, path.field("dns_resolvers")),
    };
    let servers = servers.iter().enumerate().map(|(index, server)| name_server(server, &path.index(index)));
    let options = config.dns_resolution_config.as_ref().map(|resolution| resolution.dns_resolver_options);
    Ok(DnsOptions {
        servers: servers.collect::<Result<_, _>>()?,
        tcp: options.map_or(config.use_tcp_for_dns_lookups, |options| options.use_tcp_for_dns_lookups),
        no_search: options.is_some_and(|options| options.no_default_search_domain),
    })
}

fn name_server(config: &config::Address, path: &ConfigPath) -> Result<SocketAddr, BuildError> {
    let wrong = || BuildError::at(path.clone(), "a name server has an IP address and a port");
    let config::Address::SocketAddress(socket) = config else { return Err(wrong()) };
    let address = socket.address.parse::<IpAddr>().map_err(|_| wrong())?;
    Ok((address, socket.port_value.unwrap_or(53)).into())
}

#[cfg(test)]
mod tests;
