//! Whether a request fulfils permissions and principals.

use std::net::IpAddr;

use underpass_core::{
    address::Address,
    build_context::BuildError,
    config::{CidrRange, ConfigPath},
    matcher::{MetadataMatcher, PathSegment},
};
use underpass_http::{
    HttpStream, RequestHead,
    route::{matches_filter_state, matches_header},
};

use crate::config::{
    Int32Range, MetadataSource, PathMatcher, Permission, Policy, Principal, SourcedMetadata,
};

/// A request.
pub(crate) struct Subject<'a> {
    pub(crate) stream: &'a HttpStream,
    pub(crate) head: &'a RequestHead,
}

impl Policy {
    /// Refuses what is no range of ports; the messages are Envoy's.
    pub(crate) fn check(&self, path: &ConfigPath) -> Result<(), BuildError> {
        let permissions = self.permissions.iter().enumerate();
        let mut permissions = permissions.map(|(at, it)| it.check(&path.field("permissions").index(at)));
        permissions.find(Result::is_err).unwrap_or(Ok(()))
    }

    pub(crate) fn matches(&self, subject: &Subject<'_>) -> bool {
        self.permissions.iter().any(|permission| permission.matches(subject))
            && self.principals.iter().any(|principal| principal.matches(subject))
    }
}

impl Permission {
    fn check(&self, path: &ConfigPath) -> Result<(), BuildError> {
        let set = |rules: &[Self], field: &str| {
            let path = path.field(field).field("rules");
            let mut rules = rules.iter().enumerate().map(|(at, rule)| rule.check(&path.index(at)));
            rules.find(Result::is_err).unwrap_or(Ok(()))
        };
        match self {
            Self::AndRules(it) => set(&it.rules, "and_rules"),
            Self::OrRules(it) => set(&it.rules, "or_rules"),
            Self::NotRule(rule) => rule.check(&path.field("not_rule")),
            Self::DestinationPortRange(range) => {
                range.check().map_err(|message| BuildError::at(path.field("destination_port_range"), message))
            }
            _ => Ok(()),
        }
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let local =
            |matches: &dyn Fn(&Address) -> bool| matches(subject.stream.info.addresses.borrow().local());
        match self {
            Self::AndRules(set) => set.rules.iter().all(|rule| rule.matches(subject)),
            Self::OrRules(set) => set.rules.iter().any(|rule| rule.matches(subject)),
            Self::Any(_) => true,
            Self::Header(matcher) => matches_header(matcher, subject.head),
            Self::UrlPath(matcher) => matcher.matches(subject.head),
            Self::DestinationIp(range) => local(&|address| is_in(range, address)),
            Self::DestinationPort(port) => local(&|address| address.port().map(u32::from) == Some(*port)),
            Self::DestinationPortRange(Int32Range { start, end }) => {
                local(&|address| address.port().is_some_and(|port| (*start..*end).contains(&port.into())))
            }
            Self::Metadata(matcher) => matches_metadata(matcher, subject),
            Self::NotRule(rule) => !rule.matches(subject),
            Self::RequestedServerName(matcher) => matcher.matches(
                subject.stream.info.details.requested_server_name.borrow().as_deref().unwrap_or_default(),
            ),
            Self::SourcedMetadata(matcher) => matcher.matches(subject),
        }
    }
}

impl Principal {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let info = &subject.stream.info;
        match self {
            Self::AndIds(set) => set.ids.iter().all(|id| id.matches(subject)),
            Self::OrIds(set) => set.ids.iter().any(|id| id.matches(subject)),
            Self::Any(_) => true,
            // No transport socket that is linked ends TLS, so nobody shows a certificate.
            Self::Authenticated(_) => false,
            Self::SourceIp(range) => is_in(range, subject.stream.connection.info.addresses.borrow().remote()),
            Self::DirectRemoteIp(range) => is_in(range, info.addresses.borrow().direct_remote()),
            Self::RemoteIp(range) => is_in(range, info.addresses.borrow().remote()),
            Self::Header(matcher) => matches_header(matcher, subject.head),
            Self::UrlPath(matcher) => matcher.matches(subject.head),
            Self::Metadata(matcher) => matches_metadata(matcher, subject),
            Self::FilterState(matcher) => matches_filter_state(matcher, info),
            Self::NotId(id) => !id.matches(subject),
            Self::SourcedMetadata(matcher) => matcher.matches(subject),
        }
    }
}

impl PathMatcher {
    fn matches(&self, head: &RequestHead) -> bool {
        let Self::Path(matcher) = self;
        let path = head.path();
        let path = path.find(['?', '#']).map_or(path, |end| &path[..end]);
        head.path.is_some() && matcher.matches(path)
    }
}

impl Int32Range {
    fn check(self) -> Result<(), String> {
        let Self { start, end } = self;
        for (what, number) in [("start", start), ("end", end)] {
            if !(0..=65536).contains(&number) {
                return Err(format!("range {what} {number} is out of bounds"));
            }
        }
        if start >= end {
            return Err(format!("range start {start} cannot be greater or equal than range end {end}"));
        }
        Ok(())
    }
}

impl SourcedMetadata {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let matcher = &self.metadata_matcher;
        match self.metadata_source {
            MetadataSource::Dynamic => matches_metadata(matcher, subject),
            MetadataSource::Route => {
                // Without a route there is nothing to match.
                let Some(route) = subject.stream.route() else { return false };
                let path: Vec<&str> = matcher.path.iter().map(|PathSegment::Key(key)| key.as_str()).collect();
                let value = route.metadata.as_ref().and_then(|metadata| metadata.get(&matcher.filter, &path));
                matcher.value.matches(value) != matcher.invert
            }
        }
    }
}

fn matches_metadata(matcher: &MetadataMatcher, subject: &Subject<'_>) -> bool {
    matcher.matches(&subject.stream.info.dynamic_metadata.borrow())
}

fn is_in(range: &CidrRange, address: &Address) -> bool {
    address.socket().is_some_and(|address| range.contains(unmapped(address.ip())))
}

/// An IPv4 address that came over IPv6 is compared as what it is.
fn unmapped(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
