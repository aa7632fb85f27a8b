//! Of which kind a request is: lists of actions, each of which gives an entry.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;
use underpass_core::{
    access_log::AccessLogType,
    build_context::BuildError,
    config::{ConfigPath, MetadataKey, Ranged, Value},
    formatter::{FormatContext, Formatter, Operators},
};
use underpass_http::{
    HttpStream, RequestHead,
    message_headers::MessageHeaders,
    route::{matches_header, matches_query, query_parameter},
};

use crate::config::{self, MetadataSource};

/// The kind of a request: entries of key and value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) entries: Vec<(String, String)>,
}

/// A list of actions, ready to be asked.
pub(crate) struct RateLimit {
    actions: Vec<Action>,
    /// How many tokens a request takes.
    pub(crate) hits: u64,
}

struct Action {
    key: String,
    value: Kind,
    skip_if_absent: bool,
}

/// Where the value is.
enum Kind {
    SourceCluster,
    DestinationCluster,
    Header(String),
    QueryParameter(String),
    RemoteAddress,
    MaskedRemoteAddress {
        v4: u8,
        v6: u8,
    },
    Text(Text),
    IfHeaders {
        conditions: Vec<underpass_core::matcher::HeaderMatcher>,
        expected: bool,
        value: Text,
    },
    IfQuery {
        conditions: Vec<underpass_http::route::config::QueryParameterMatcher>,
        expected: bool,
        value: Text,
    },
    Metadata {
        key: MetadataKey,
        source: MetadataSource,
        default: String,
    },
}

/// A text with command operators, and what stands in where they print nothing.
struct Text {
    format: Formatter,
    default: String,
}

impl RateLimit {
    /// Command operators count if `formatted` says so.
    pub(crate) fn build(
        config: &config::RateLimit,
        path: &ConfigPath,
        formatted: bool,
    ) -> Result<Self, BuildError> {
        if config.stage.is_some_and(|stage| stage != 0) || !config.disable_key.is_empty() {
            let message = "'stage' field and 'disable_key' field are not supported";
            return Err(BuildError::at(path.clone(), message));
        }
        let actions = config.actions.iter().enumerate();
        let actions =
            actions.map(|(at, action)| Action::build(action, &path.field("actions").index(at), formatted));
        let hits = config.hits_addend.as_ref().and_then(|addend| addend.number);
        Ok(Self { actions: actions.collect::<Result<_, _>>()?, hits: hits.map_or(1, Ranged::get) })
    }

    /// The kind of a request, unless an action has no value for it.
    pub(crate) fn descriptor(&self, stream: &HttpStream) -> Option<Descriptor> {
        let head = stream.request();
        let mut entries = Vec::with_capacity(self.actions.len());
        for action in &self.actions {
            match action.value.of(stream, &head) {
                Some(value) => entries.push((action.key.clone(), value)),
                None if action.skip_if_absent => {}
                None => return None,
            }
        }
        (!entries.is_empty()).then_some(Descriptor { entries })
    }
}

impl Action {
    fn build(config: &config::Action, path: &ConfigPath, formatted: bool) -> Result<Self, BuildError> {
        let text = |text: &str, default: &str, field: &str| {
            Text::build(text, default, &path.field(field), formatted)
        };
        let required = |key: &str, value| Self { key: key.to_owned(), value, skip_if_absent: false };
        let key = |key: &str, default: &str| if key.is_empty() { default.to_owned() } else { key.to_owned() };
        Ok(match config {
            config::Action::SourceCluster(_) => required("source_cluster", Kind::SourceCluster),
            config::Action::DestinationCluster(_) => {
                required("destination_cluster", Kind::DestinationCluster)
            }
            config::Action::RemoteAddress(_) => required("remote_address", Kind::RemoteAddress),
            config::Action::MaskedRemoteAddress(it) => {
                let (v4, v6) = (it.v4_prefix_mask_len, it.v6_prefix_mask_len);
                let (v4, v6) = (v4.map_or(32, Ranged::get), v6.map_or(128, Ranged::get));
                required("masked_remote_address", Kind::MaskedRemoteAddress { v4, v6 })
            }
            config::Action::RequestHeaders(it) => {
                let name = it.header_name.to_ascii_lowercase();
                if !name.starts_with(':') && HeaderName::try_from(&name).is_err() {
                    let path = path.field("request_headers").field("header_name");
                    return Err(BuildError::at(path, format!("{name:?} is no name of a header")));
                }
                let skip_if_absent = it.skip_if_absent;
                Self { key: it.descriptor_key.to_string(), value: Kind::Header(name), skip_if_absent }
            }
            config::Action::QueryParameters(it) => Self {
                key: it.descriptor_key.to_string(),
                value: Kind::QueryParameter(it.query_parameter_name.to_string()),
                skip_if_absent: it.skip_if_absent,
            },
            config::Action::GenericKey(it) => {
                let text = text(&it.descriptor_value, &it.default_value, "generic_key")?;
                required(&key(&it.descriptor_key, "generic_key"), Kind::Text(text))
            }
            config::Action::HeaderValueMatch(it) => {
                let kind = Kind::IfHeaders {
                    conditions: it.headers.clone(),
                    expected: it.expect_match.unwrap_or(true),
                    value: text(&it.descriptor_value, &it.default_value, "header_value_match")?,
                };
                required(&key(&it.descriptor_key, "header_match"), kind)
            }
            config::Action::QueryParameterValueMatch(it) => {
                let kind = Kind::IfQuery {
                    conditions: it.query_parameters.clone(),
                    expected: it.expect_match.unwrap_or(true),
                    value: text(&it.descriptor_value, &it.default_value, "query_parameter_value_match")?,
                };
                required(&key(&it.descriptor_key, "query_match"), kind)
            }
            config::Action::DynamicMetadata(it) => {
                let (source, default) = (MetadataSource::Dynamic, it.default_value.clone());
                required(&it.descriptor_key, Kind::Metadata { key: it.metadata_key.clone(), source, default })
            }
            config::Action::Metadata(it) => Self {
                key: it.descriptor_key.to_string(),
                value: Kind::Metadata {
                    key: it.metadata_key.clone(),
                    source: it.source,
                    default: it.default_value.clone(),
                },
                skip_if_absent: it.skip_if_absent,
            },
        })
    }
}

impl Kind {
    fn of(&self, stream: &HttpStream, head: &RequestHead) -> Option<String> {
        match self {
            Self::SourceCluster => Some(stream.worker().server().node.cluster.clone()),
            Self::DestinationCluster => stream.route()?.forward()?.cluster(head).map(str::to_owned),
            Self::Header(name) => head.get(name).map(str::to_owned),
            Self::QueryParameter(name) => query_parameter(head.path(), name).map(str::to_owned),
            Self::RemoteAddress => remote_ip(stream).map(|ip| ip.to_string()),
            Self::MaskedRemoteAddress { v4, v6 } => {
                let ip = remote_ip(stream)?;
                let bits = if ip.is_ipv4() { *v4 } else { *v6 };
                IpNet::new(ip, bits).ok().map(|net| net.trunc().to_string())
            }
            Self::Text(text) => text.of(stream, head),
            Self::IfHeaders { conditions, expected, value } => {
                let holds = conditions.iter().all(|condition| matches_header(condition, head));
                if holds == *expected { value.of(stream, head) } else { None }
            }
            Self::IfQuery { conditions, expected, value } => {
                let holds = conditions.iter().all(|condition| matches_query(condition, head.path()));
                if holds == *expected { value.of(stream, head) } else { None }
            }
            Self::Metadata { key, source, default } => {
                metadata(stream, key, *source).or_else(|| Some(default.clone()).filter(|it| !it.is_empty()))
            }
        }
    }
}

fn remote_ip(stream: &HttpStream) -> Option<IpAddr> {
    stream.info.addresses.borrow().remote().socket().map(|address| address.ip())
}

fn metadata(stream: &HttpStream, key: &MetadataKey, source: MetadataSource) -> Option<String> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let found = match source {
        MetadataSource::Dynamic => text(stream.info.dynamic_metadata.borrow().get(&key.key, &key.path())),
        MetadataSource::RouteEntry => {
            text(stream.route().and_then(|route| route.metadata.clone())?.get(&key.key, &key.path()))
        }
    };
    found.filter(|value| !value.is_empty())
}

impl Text {
    fn build(text: &str, default: &str, path: &ConfigPath, formatted: bool) -> Result<Self, BuildError> {
        let text = if formatted { text.to_owned() } else { text.replace('%', "%%") };
        let refuse = |message: String| BuildError::at(path.field("descriptor_value"), message);
        let operators = Operators::linked().map_err(|error| refuse(error.to_string()))?;
        let format = Formatter::parse(&text, &operators).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { format: format.omit_empty_values(true), default: default.to_owned() })
    }

    fn of(&self, stream: &HttpStream, head: &RequestHead) -> Option<String> {
        let headers = MessageHeaders::of_request(head);
        let info = &stream.info;
        let context = FormatContext { info, access_log_type: AccessLogType::NotSet, headers: Some(&headers) };
        let text = Some(self.format.format(&context)).filter(|text| !text.is_empty());
        text.or_else(|| Some(self.default.clone()).filter(|text| !text.is_empty()))
    }
}
