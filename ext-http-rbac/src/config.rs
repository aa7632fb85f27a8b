//! The messages of the filter (`envoy/extensions/filters/http/rbac/v3/rbac.proto`, `envoy/config/rbac/v3/rbac.proto`).

use std::collections::BTreeMap;

use serde::Deserialize;
use underpass_core::{
    config::CidrRange,
    matcher::{HeaderMatcher, MetadataMatcher, StringMatcher},
};
use underpass_http::route::config::FilterStateMatcher;

/// `envoy.extensions.filters.http.rbac.v3.RBAC`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rbac {
    /// What counts; without, every request is let in.
    pub rules: Option<Rules>,
    /// What stands before the stats and the metadata of the rules.
    pub rules_stat_prefix: String,
    /// What is only noted.
    pub shadow_rules: Option<Rules>,
    /// What stands before the stats and the metadata of the shadow rules.
    pub shadow_rules_stat_prefix: String,
    /// Whether policies have stats of their own.
    pub track_per_rule_stats: bool,
}

/// `RBACPerRoute`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RbacPerRoute {
    /// The rules; without, every request is let in.
    pub rbac: Option<Rbac>,
}

/// `envoy.config.rbac.v3.RBAC`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// What is done with a request that fulfils a policy.
    pub action: Action,
    /// The policies, by name; they are asked in the order of their names.
    pub policies: BTreeMap<String, Policy>,
}

/// `RBAC.Action`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// It is let in, and no other.
    #[default]
    Allow,
    /// It is turned away.
    Deny,
    /// It is marked for access logs.
    Log,
}

/// `Policy`.
#[derive(Debug, Clone, Deserialize)]
pub struct Policy {
    /// What may be asked for; one is enough.
    pub permissions: Vec<Permission>,
    /// Who may ask; one is enough.
    pub principals: Vec<Principal>,
}

/// `Permission`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// All of these.
    AndRules(PermissionSet),
    /// One of these.
    OrRules(PermissionSet),
    /// Anything.
    Any(bool),
    /// A header.
    Header(HeaderMatcher),
    /// The path, without its query.
    UrlPath(PathMatcher),
    /// The address that the client connected to.
    DestinationIp(CidrRange),
    /// The port that the client connected to.
    DestinationPort(u32),
    /// The same, of several.
    DestinationPortRange(Int32Range),
    /// Dynamic metadata.
    Metadata(MetadataMatcher),
    /// Not this one.
    NotRule(Box<Permission>),
    /// The server name of TLS.
    RequestedServerName(StringMatcher),
    /// Metadata of the request or the route.
    SourcedMetadata(SourcedMetadata),
}

/// `Permission.Set`.
#[derive(Debug, Clone, Deserialize)]
pub struct PermissionSet {
    /// The permissions.
    pub rules: Vec<Permission>,
}

/// `Principal`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// All of these.
    AndIds(PrincipalSet),
    /// One of these.
    OrIds(PrincipalSet),
    /// Anyone.
    Any(bool),
    /// Somebody with a certificate.
    Authenticated(Authenticated),
    /// The address of the connection's peer, as listener filters left it; deprecated.
    SourceIp(CidrRange),
    /// The address of the connection's peer.
    DirectRemoteIp(CidrRange),
    /// The address of the client, as far as is known: `x-forwarded-for` counts.
    RemoteIp(CidrRange),
    /// A header.
    Header(HeaderMatcher),
    /// The path, without its query.
    UrlPath(PathMatcher),
    /// Dynamic metadata.
    Metadata(MetadataMatcher),
    /// An object in the filter state.
    FilterState(FilterStateMatcher),
    /// Not this one.
    NotId(Box<Principal>),
    /// Metadata of the request or the route.
    SourcedMetadata(SourcedMetadata),
}

/// `Principal.Set`.
#[derive(Debug, Clone, Deserialize)]
pub struct PrincipalSet {
    /// The principals.
    pub ids: Vec<Principal>,
}

/// `Principal.Authenticated`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Authenticated {
    /// What the certificate has to say; anything unless set.
    pub principal_name: Option<StringMatcher>,
}

/// `envoy.type.matcher.v3.PathMatcher`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatcher {
    /// What the path has to be.
    Path(StringMatcher),
}

/// `envoy.type.v3.Int32Range`: from `start`, included, to `end`, not included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Int32Range {
    /// The first number of the range.
    pub start: i32,
    /// The first number after the range.
    pub end: i32,
}

/// `envoy.config.rbac.v3.SourcedMetadata`.
#[derive(Debug, Clone, Deserialize)]
pub struct SourcedMetadata {
    /// What it has to be.
    pub metadata_matcher: MetadataMatcher,
    /// Of what.
    #[serde(default)]
    pub metadata_source: MetadataSource,
}

/// `envoy.config.rbac.v3.MetadataSource`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MetadataSource {
    /// Of the request.
    #[default]
    Dynamic,
    /// Of the route.
    Route,
}
