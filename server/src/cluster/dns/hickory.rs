//! Look-ups by hickory-resolver: `/etc/resolv.conf`, `/etc/hosts`, UDP and TCP.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, Record, RecordType},
    },
    system_conf::read_system_conf,
};

use super::{IpVersion, Lookup, LookupFuture, ResolveError, Resolved};

/// How names are looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct DnsOptions {
    /// The name servers; none for those of the system.
    pub servers: Vec<SocketAddr>,
    /// Whether they are asked by TCP only.
    pub tcp: bool,
    /// Whether the search domains of the system are left out.
    pub no_search: bool,
}

/// Looks names up with hickory-resolver.
pub(crate) struct HickoryLookup(TokioResolver);

impl HickoryLookup {
    /// A resolver. It opens nothing before the first look-up.
    pub(crate) fn new(options: &DnsOptions) -> Result<Self, ResolveError> {
        // Without /etc/resolv.conf a resolver asks the local machine (resolv.conf(5)).
        let (system, settings) =
            read_system_conf().unwrap_or_else(|_| (local_server(), ResolverOpts::default()));
        let config = config(system, options);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.with_options(settings).build();
        resolver.map(Self).map_err(|error| ResolveError(error.to_string()))
    }
}

fn local_server() -> ResolverConfig {
    ResolverConfig::from_name_servers(vec![NameServerConfig::udp_and_tcp(IpAddr::from([127, 0, 0, 1]))])
}

fn config(system: ResolverConfig, options: &DnsOptions) -> ResolverConfig {
    let (domain, search, mut servers) = system.into_parts();
    if !options.servers.is_empty() {
        servers = options.servers.iter().map(|address| name_server(*address)).collect();
    }
    if options.tcp {
        for server in &mut servers {
            let tcp = ConnectionConfig::tcp();
            server.connections.retain(|connection| connection.protocol == tcp.protocol);
        }
    }
    let (domain, search) = if options.no_search { (None, Vec::new()) } else { (domain, search) };
    ResolverConfig::from_parts(domain, search, servers)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

impl Lookup for HickoryLookup {
    fn lookup<'a>(&'a self, name: &'a str, version: IpVersion) -> LookupFuture<'a> {
        let record = match version {
            IpVersion::V4 => RecordType::A,
            IpVersion::V6 => RecordType::AAAA,
        };
        Box::pin(async move {
            // Who asks wants to know what is true now; an older answer would be of no use.
            self.0.clear_lookup_cache(name, record);
            match self.0.lookup(name, record).await {
                Ok(answer) => Ok(addresses(answer.answers())),
                Err(error) if says_that_there_is_none(&error) => Ok(Resolved::default()),
                Err(error) => Err(ResolveError(error.to_string())),
            }
        })
    }
}

fn addresses(answers: &[Record]) -> Resolved {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let ttl = answers.iter().map(|record| Duration::from_secs(record.ttl.into())).min();
    Resolved { addresses: answers.iter().filter_map(address).collect(), ttl }
}

fn says_that_there_is_none(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(answer)) = error else { return false };
    matches!(answer.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
}

#[cfg(test)]
mod tests;
