//! Where configuration comes from that can change while the process runs (`envoy/config/core/v3/config_source.proto`).

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Deserializer};

use crate::config::{ConfigPath, Node, reader::handoff};

/// Envoy's `initial_fetch_timeout` where nothing is set.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// `envoy.config.core.v3.ConfigSource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ConfigSource {
    /// A file (deprecated in favour of `path_config_source`).
    pub path: Option<String>,
    /// A file that is watched.
    pub path_config_source: Option<PathConfigSource>,
    /// A control plane. What it says is read by whoever implements it.
    pub api_config_source: Option<RawMessage>,
    /// The control plane of `ads_config`.
    pub ads: Option<RawMessage>,
    /// The server that the resource came from which names this source.
    #[serde(rename = "self")]
    pub own_server: Option<RawMessage>,
    /// How long whoever needs the first answer waits for it; zero is for ever.
    pub initial_fetch_timeout: Option<Duration>,
    /// The version of the messages; there is but one, whatever it says.
    pub resource_api_version: ApiVersion,
}

impl ConfigSource {
    /// What kind of source it is; absent, it says nothing.
    pub fn kind(&self) -> Option<SourceKind> {
        let kinds = [
            (self.path.is_some() || self.path_config_source.is_some(), SourceKind::Path),
            (self.api_config_source.is_some(), SourceKind::Api),
            (self.ads.is_some(), SourceKind::Ads),
            (self.own_server.is_some(), SourceKind::OwnServer),
        ];
        kinds.into_iter().find(|(is_set, _)| *is_set).map(|(_, kind)| kind)
    }

    /// A text that is the same for sources that say the same.
    pub fn identity(&self) -> String {
        let raw = |message: &Option<RawMessage>| message.as_ref().map(|message| message.node.stable_hash());
        let messages = [&self.api_config_source, &self.ads, &self.own_server].map(raw);
        format!("{:?} {:?} {messages:?} {:?}", self.path, self.path_config_source, self.initial_fetch_timeout)
    }

    /// `initial_fetch_timeout`, 15 s by default; `None` is for ever.
    pub fn initial_fetch_timeout_or_none(&self) -> Option<Duration> {
        Some(self.initial_fetch_timeout.unwrap_or(INITIAL_FETCH_TIMEOUT)).filter(|timeout| !timeout.is_zero())
    }
}

/// Which member of the oneof `config_source_specifier` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A file.
    Path,
    /// A control plane of its own.
    Api,
    /// The aggregated control plane.
    Ads,
    /// The server that the resource came from.
    OwnServer,
}

impl SourceKind {
    /// The field that says so.
    pub fn field(self) -> &'static str {
        match self {
            Self::Path => "path_config_source",
            Self::Api => "api_config_source",
            Self::Ads => "ads",
            Self::OwnServer => "self",
        }
    }
}

/// `envoy.config.core.v3.PathConfigSource`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PathConfigSource {
    /// The file.
    pub path: String,
    /// The directory that is watched instead of the file's own.
    pub watched_directory: Option<WatchedDirectory>,
}

/// `envoy.config.core.v3.WatchedDirectory`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct WatchedDirectory {
    /// The directory.
    pub path: String,
}

/// `envoy.config.core.v3.ApiVersion`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ApiVersion {
    /// The newest.
    #[default]
    #[serde(rename = "AUTO")]
    Auto,
    /// Version 2, which has been removed.
    #[serde(rename = "V2")]
    V2,
    /// Version 3, the only one.
    #[serde(rename = "V3")]
    V3,
}

/// A message that is only kept, not read: for those who know its type.
#[derive(Debug, Clone, PartialEq)]
pub struct RawMessage {
    /// The message as it was written.
    pub node: Arc<Node>,
    /// Where it stands.
    pub path: ConfigPath,
}

impl<'de> Deserialize<'de> for RawMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handoff = handoff::request(deserializer, handoff::NODE)?;
        Ok(Self { node: handoff.node, path: handoff.path })
    }
}
