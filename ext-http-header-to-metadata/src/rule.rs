//! Rules: where a value is looked for, and what is noted.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Struct},
    matcher::RegexMatchAndSubstitute,
};
use underpass_http::{RequestHead, Response};

use crate::{
    config,
    stats::RuleStats,
    value::{self, Failure, Form},
};

/// The namespace where none is said.
const NAMESPACE: &str = "envoy.filters.http.header_to_metadata";

/// A request or an answer, as far as rules care.
pub(crate) trait Message {
    /// A pseudo-header, or what is one here (`host`).
    fn pseudo(&self, name: &str) -> Option<String>;
    /// The other headers.
    fn headers(&mut self) -> &mut HeaderMap;
}

impl Message for RequestHead {
    fn pseudo(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    fn headers(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }
}

impl Message for Response {
    fn pseudo(&self, name: &str) -> Option<String> {
        (name == ":status").then(|| self.status().as_str().to_owned())
    }

    fn headers(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

/// A rule, ready to be applied.
pub(crate) struct Rule {
    selector: Selector,
    on_present: Option<Note>,
    on_missing: Option<Note>,
}

enum Selector {
    Pseudo(String),
    Header { name: HeaderName, remove: bool },
    Cookie(String),
}

/// What is noted, and where.
struct Note {
    namespace: Arc<str>,
    key: String,
    /// The value, unless it is that of the header.
    value: Option<String>,
    rewrite: Option<RegexMatchAndSubstitute>,
    form: Form,
}

impl Rule {
    /// The messages are Envoy's.
    pub(crate) fn build(rule: &config::Rule, path: &ConfigPath) -> Result<Self, BuildError> {
        let refuse = |message: String| Err(BuildError::at(path.clone(), message));
        let selector = match (rule.header.as_str(), rule.cookie.as_str()) {
            ("", "") => return refuse("One of Cookie or Header option needs to be specified".into()),
            (header, "") => Selector::header(header, rule.remove).ok_or_else(|| {
                BuildError::at(path.field("header"), format!("{header:?} is no name of a header"))
            })?,
            ("", cookie) => Selector::Cookie(cookie.to_owned()),
            _ => return refuse("Cannot specify both header and cookie in the same rule".into()),
        };
        if rule.on_header_present.is_none() && rule.on_header_missing.is_none() {
            let what = match &selector {
                Selector::Cookie(name) => format!("cookie '{name}'"),
                Selector::Pseudo(name) => format!("header '{name}'"),
                Selector::Header { name, .. } => format!("header '{name}'"),
            };
            return refuse(format!(
                "header to metadata filter: rule for {what} has neither `on_header_present` nor `on_header_missing` set"
            ));
        }
        if rule
            .on_header_present
            .as_ref()
            .is_some_and(|it| !it.value.is_empty() && it.regex_value_rewrite.is_some())
        {
            return refuse("Cannot specify both value and regex_value_rewrite".into());
        }
        if !rule.cookie.is_empty() && rule.remove {
            return refuse("Cannot specify remove for cookie".into());
        }
        if rule.on_header_missing.as_ref().is_some_and(|it| it.value.is_empty()) {
            return refuse("Cannot specify on_header_missing rule with an empty value".into());
        }
        Ok(Self {
            selector,
            on_present: rule.on_header_present.as_ref().map(Note::build),
            on_missing: rule.on_header_missing.as_ref().map(Note::build),
        })
    }

    /// Adds what the rule finds to `found`.
    pub(crate) fn apply<'r>(
        &'r self,
        message: &mut dyn Message,
        stats: Option<&RuleStats>,
        found: &mut BTreeMap<&'r Arc<str>, Struct>,
    ) {
        if let Some(stats) = stats {
            stats.rules_processed.inc();
        }
        let value = self.selector.extract(message);
        let (note, value) = match (value, &self.on_present, &self.on_missing) {
            (Some(value), Some(note), _) => (note, value),
            (None, _, Some(note)) => {
                if let Some(stats) = stats {
                    stats.header_not_found.inc();
                }
                (note, String::new())
            }
            _ => return,
        };
        match note.value(value) {
            Ok(value) => {
                found.entry(&note.namespace).or_default().insert(note.key.clone(), value);
                if let Some(stats) = stats {
                    stats.metadata_added.inc();
                }
            }
            Err(failure) => {
                let Some(stats) = stats else { return };
                match failure {
                    Failure::Base64 => stats.base64_decode_failed.inc(),
                    Failure::TooLong => stats.header_value_too_long.inc(),
                    Failure::Rewrite => stats.regex_substitution_failed.inc(),
                    Failure::NoValue => {}
                }
            }
        }
    }
}

impl Selector {
    fn header(name: &str, remove: bool) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        if name.starts_with(':') || name == "host" {
            return Some(Self::Pseudo(name));
        }
        Some(Self::Header { name: HeaderName::try_from(name).ok()?, remove })
    }

    fn extract(&self, message: &mut dyn Message) -> Option<String> {
        match self {
            Self::Pseudo(name) => message.pseudo(name),
            Self::Header { name, remove } => {
                let headers = message.headers();
                let mut values = headers.get_all(name).iter().map(text);
                let mut joined = values.next()?;
                for value in values {
                    joined.push(',');
                    joined.push_str(&value);
                }
                if *remove {
                    headers.remove(name);
                }
                Some(joined)
            }
            Self::Cookie(name) => cookie(message.headers(), name).filter(|value| !value.is_empty()),
        }
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The value of a cookie, without the quotes that may be round it.
fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    headers.get_all(header::COOKIE).iter().find_map(|line| {
        text(line).split(';').find_map(|pair| {
            let (name, value) = pair.trim_start().split_once('=')?;
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name == wanted).then(|| unquoted.unwrap_or(value).to_owned())
        })
    })
}

impl Note {
    fn build(config: &config::KeyValuePair) -> Self {
        let namespace = config.metadata_namespace.as_str();
        Self {
            namespace: if namespace.is_empty() { NAMESPACE } else { namespace }.into(),
            key: config.key.to_string(),
            value: Some(config.value.clone()).filter(|value| !value.is_empty()),
            rewrite: config.regex_value_rewrite.clone(),
            form: Form { value_type: config.value_type, encode: config.encode },
        }
    }

    fn value(&self, header: String) -> Result<underpass_core::config::Value, Failure> {
        let value = match (&self.value, &self.rewrite) {
            (Some(value), _) => value.clone(),
            (None, Some(rewrite)) => {
                let rewritten = rewrite.replace_all(&header);
                if rewritten.is_empty() && !header.is_empty() {
                    return Err(Failure::Rewrite);
                }
                rewritten
            }
            (None, None) => header,
        };
        value::make(value, self.form)
    }
}
