//! `envoy.config.core.v3.Node`: who asks for a configuration.

use super::Struct;

/// Who asks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// Tells the processes of a service apart.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The service.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Whatever the control plane wants to know.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Struct>,
    /// Where the process runs.
    #[prost(message, optional, tag = "4")]
    pub locality: Option<Locality>,
    /// Which program this is.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
    /// Its version.
    #[prost(oneof = "user_agent::Version", tags = "7, 8")]
    pub user_agent_version: Option<user_agent::Version>,
    /// What is linked.
    #[prost(message, repeated, tag = "9")]
    pub extensions: Vec<Extension>,
    /// What the client can do beyond the API.
    #[prost(string, repeated, tag = "10")]
    pub client_features: Vec<String>,
}

/// The oneof of [`Node`].
pub mod user_agent {
    use super::BuildVersion;

    /// The version of the program.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Version {
        /// As text.
        #[prost(string, tag = "7")]
        Text(String),
        /// In parts.
        #[prost(message, tag = "8")]
        Build(BuildVersion),
    }
}

/// `envoy.config.core.v3.Locality`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Locality {
    /// The region.
    #[prost(string, tag = "1")]
    pub region: String,
    /// The zone in the region.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// The part of the zone.
    #[prost(string, tag = "3")]
    pub sub_zone: String,
}

/// `envoy.config.core.v3.BuildVersion`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BuildVersion {
    /// The version's numbers.
    #[prost(message, optional, tag = "1")]
    pub version: Option<SemanticVersion>,
    /// More about the build.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<Struct>,
}

/// `envoy.type.v3.SemanticVersion`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SemanticVersion {
    /// The first number.
    #[prost(uint32, tag = "1")]
    pub major_number: u32,
    /// The second.
    #[prost(uint32, tag = "2")]
    pub minor_number: u32,
    /// The third.
    #[prost(uint32, tag = "3")]
    pub patch: u32,
}

/// `envoy.config.core.v3.Extension`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Extension {
    /// Its name, `envoy.filters.network.tcp_proxy`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its category, `envoy.filters.network`.
    #[prost(string, tag = "2")]
    pub category: String,
    /// The types of its configuration.
    #[prost(string, repeated, tag = "6")]
    pub type_urls: Vec<String>,
}
