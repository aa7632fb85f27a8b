//! What hash-based load balancing goes by.

use std::time::Duration;

use http::HeaderValue;
use underpass_core::{
    build_context::BuildError, config::ConfigPath, matcher::RegexMatchAndSubstitute, stream_info::StreamInfo,
};
use xxhash_rust::xxh64::xxh64;

use super::{
    config,
    matching::{cookie, query_parameter},
};
use crate::RequestHead;

/// A route's hash policies.
#[derive(Debug, Clone)]
pub struct HashPolicy {
    methods: Vec<Method>,
}

#[derive(Debug, Clone)]
struct Method {
    source: Source,
    /// Whether it is the last one if there is a hash.
    terminal: bool,
}

#[derive(Debug, Clone)]
enum Source {
    Header { name: Box<str>, rewrite: Option<RegexMatchAndSubstitute> },
    Cookie(Cookie),
    Client,
    QueryParameter(String),
    FilterState(String),
}

#[derive(Debug, Clone)]
struct Cookie {
    name: String,
    /// How long it is kept if this proxy makes it, zero for the session; without, it makes none.
    ttl: Option<Duration>,
    /// `; Path=…` and further attributes.
    attributes: String,
}

impl HashPolicy {
    pub(super) fn build(
        configs: &[config::HashPolicy],
        path: &ConfigPath,
    ) -> Result<Option<Self>, BuildError> {
        let mut methods = Vec::new();
        for (index, config) in configs.iter().enumerate() {
            if let Some(source) = Source::build(config, &path.index(index))? {
                methods.push(Method { source, terminal: config.terminal });
            }
        }
        Ok((!methods.is_empty()).then_some(Self { methods }))
    }

    /// The hash of a request, if anything is there that it is made from. Envoy's function, so that both proxies pick the
    /// same host of a ring.
    ///
    /// Where a policy wants a cookie that the request does not have, one is made, whose `set-cookie` is given to
    /// `set_cookie` for the answer; `connection` is the downstream connection, by which it is the same for all its requests.
    pub fn hash(
        &self,
        head: &RequestHead,
        info: &StreamInfo,
        connection: &StreamInfo,
        mut set_cookie: impl FnMut(HeaderValue),
    ) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for method in &self.methods {
            if let Some(new) = method.source.hash(head, info, connection, &mut set_cookie) {
                // Rotated, so that two equal policies do not cancel each other out.
                hash = Some(hash.map_or(0, |old| old.rotate_left(1)) ^ new);
            }
            if method.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }
}

impl Source {
    fn build(config: &config::HashPolicy, path: &ConfigPath) -> Result<Option<Self>, BuildError> {
        Ok(if let Some(header) = &config.header {
            let name =
                super::build::readable(&header.header_name, &path.field("header").field("header_name"))?;
            Some(Self::Header { name, rewrite: header.regex_rewrite.clone() })
        } else if let Some(cookie) = &config.cookie {
            let mut attributes = String::new();
            if !cookie.path.is_empty() {
                attributes = format!("; Path={}", cookie.path);
            }
            for attribute in &cookie.attributes {
                attributes.push_str("; ");
                attributes.push_str(&attribute.name);
                if !attribute.value.is_empty() {
                    attributes.push('=');
                    attributes.push_str(&attribute.value);
                }
            }
            Some(Self::Cookie(Cookie { name: cookie.name.to_string(), ttl: cookie.ttl, attributes }))
        } else if let Some(properties) = &config.connection_properties {
            properties.source_ip.then_some(Self::Client)
        } else if let Some(parameter) = &config.query_parameter {
            Some(Self::QueryParameter(parameter.name.to_string()))
        } else {
            config.filter_state.as_ref().map(|state| Self::FilterState(state.key.to_string()))
        })
    }

    fn hash(
        &self,
        head: &RequestHead,
        info: &StreamInfo,
        connection: &StreamInfo,
        set_cookie: &mut dyn FnMut(HeaderValue),
    ) -> Option<u64> {
        match self {
            Self::Header { name, rewrite } => hash_header(head, name, rewrite.as_ref()),
            Self::Cookie(wanted) => match cookie(head, &wanted.name).filter(|value| !value.is_empty()) {
                Some(value) => Some(xxh64(value.as_bytes(), 0)),
                None => wanted.make(connection, set_cookie),
            },
            Self::Client => {
                let address = info.addresses.borrow().remote().socket()?.ip().to_string();
                Some(xxh64(address.as_bytes(), 0))
            }
            Self::QueryParameter(name) => Some(xxh64(query_parameter(head.path(), name)?.as_bytes(), 0)),
            Self::FilterState(key) => info.filter_state.borrow().get(key)?.hash(),
        }
    }
}

/// All values of a header, in an order that does not depend on theirs.
fn hash_header(head: &RequestHead, name: &str, rewrite: Option<&RegexMatchAndSubstitute>) -> Option<u64> {
    let mut values: Vec<_> = match head.get(name) {
        Some(value) if name.starts_with(':') || name == "host" => vec![value.as_bytes()],
        _ => head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect(),
    };
    let rewritten: Vec<String>;
    if let Some(rewrite) = rewrite {
        rewritten = values.iter().map(|value| rewrite.replace_all(&String::from_utf8_lossy(value))).collect();
        values = rewritten.iter().map(String::as_bytes).collect();
    }
    values.sort_unstable();
    (!values.is_empty()).then(|| values.into_iter().fold(0, |seed, value| xxh64(value, seed)))
}

impl Cookie {
    fn make(&self, connection: &StreamInfo, set_cookie: &mut dyn FnMut(HeaderValue)) -> Option<u64> {
        let ttl = self.ttl?;
        let value = {
            let addresses = connection.addresses.borrow();
            let ends = format!("{}{}", addresses.remote(), addresses.local());
            format!("{:016x}", xxh64(ends.as_bytes(), 0))
        };
        let max_age = if ttl.as_secs() == 0 { String::new() } else { format!("; Max-Age={}", ttl.as_secs()) };
        let cookie = format!("{}=\"{value}\"{max_age}{}; HttpOnly", self.name, self.attributes);
        if let Ok(cookie) = HeaderValue::try_from(cookie) {
            set_cookie(cookie);
        }
        Some(xxh64(value.as_bytes(), 0))
    }
}
