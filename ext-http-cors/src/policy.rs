//! What routes say, and what all levels say together.

use std::sync::Arc;

use http::HeaderValue;
use underpass_core::{
    build_context::BuildError, config::RuntimeFractionalPercent, matcher::StringMatcher, runtime::Runtime,
};
use underpass_http::filter::HttpFilterContext;

use crate::CorsPolicy;

/// What one level says.
pub(crate) struct Policy {
    origins: Vec<StringMatcher>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: Option<bool>,
    private_network: Option<bool>,
    forward_not_matching: Option<bool>,
    enabled: Option<RuntimeFractionalPercent>,
    shadow: Option<RuntimeFractionalPercent>,
    runtime: Arc<Runtime>,
}

/// Whether a policy counts for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Enabled,
    /// Origins are counted, and nothing else happens.
    Shadow,
    Off,
}

impl Policy {
    pub(crate) fn build(config: &CorsPolicy, context: &HttpFilterContext<'_>) -> Result<Self, BuildError> {
        let value = |text: &str, field: &str| match text {
            "" => Ok(None),
            text => HeaderValue::from_str(text).map(Some).map_err(|_| {
                let message =
                    format!("{text:?} cannot be the value of a header: it holds a control character");
                context.build.error_at(field, message)
            }),
        };
        Ok(Self {
            origins: config.allow_origin_string_match.clone(),
            methods: value(&config.allow_methods, "allow_methods")?,
            headers: value(&config.allow_headers, "allow_headers")?,
            expose: value(&config.expose_headers, "expose_headers")?,
            max_age: value(&config.max_age, "max_age")?,
            credentials: config.allow_credentials,
            private_network: config.allow_private_network_access,
            forward_not_matching: config.forward_not_matching_preflights,
            enabled: config.filter_enabled.clone(),
            shadow: config.shadow_enabled.clone(),
            runtime: Arc::clone(&context.build.server.runtime),
        })
    }

    fn mode(&self) -> Mode {
        if self.includes_this(self.enabled.as_ref(), true) {
            Mode::Enabled
        } else if self.includes_this(self.shadow.as_ref(), false) {
            Mode::Shadow
        } else {
            Mode::Off
        }
    }

    fn includes_this(&self, fraction: Option<&RuntimeFractionalPercent>, default: bool) -> bool {
        fraction.map_or(default, |fraction| self.runtime.snapshot().is_enabled(fraction, fastrand::u64(..)))
    }
}

/// What all levels say: the most specific one that says something counts.
pub(crate) struct Policies(Vec<Arc<Policy>>);

impl Policies {
    /// Of levels in the order of a route, the most specific one last.
    pub(crate) fn new(mut levels: Vec<Arc<Policy>>) -> Self {
        levels.reverse();
        Self(levels)
    }

    /// Only the most specific level has a say in this.
    pub(crate) fn mode(&self) -> Mode {
        self.0.first().map_or(Mode::Off, |policy| policy.mode())
    }

    pub(crate) fn allows(&self, origin: &str) -> bool {
        let origins = self.0.iter().map(|policy| &policy.origins).find(|origins| !origins.is_empty());
        origins.is_some_and(|origins| origins.iter().any(|it| it.matches("*") || it.matches(origin)))
    }

    pub(crate) fn methods(&self) -> Option<&HeaderValue> {
        self.first(|policy| policy.methods.as_ref())
    }

    pub(crate) fn headers(&self) -> Option<&HeaderValue> {
        self.first(|policy| policy.headers.as_ref())
    }

    pub(crate) fn expose(&self) -> Option<&HeaderValue> {
        self.first(|policy| policy.expose.as_ref())
    }

    pub(crate) fn max_age(&self) -> Option<&HeaderValue> {
        self.first(|policy| policy.max_age.as_ref())
    }

    pub(crate) fn credentials(&self) -> bool {
        self.first(|policy| policy.credentials).unwrap_or(false)
    }

    pub(crate) fn private_network(&self) -> bool {
        self.first(|policy| policy.private_network).unwrap_or(false)
    }

    pub(crate) fn forward_not_matching(&self) -> bool {
        self.first(|policy| policy.forward_not_matching).unwrap_or(true)
    }

    fn first<'p, T>(&'p self, said: impl Fn(&'p Policy) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|policy| said(policy))
    }
}
