//! Which upgrades are allowed: what the connection manager says of a type, and what the route says of it.

use std::sync::Arc;

use http::header;
use underpass_core::build_context::{BuildContext, BuildError};
use underpass_http::{RequestHead, filter::FilterChain, route::Route};

use crate::config::UpgradeConfig;

/// `upgrade_configs`, built.
#[derive(Default)]
pub(crate) struct Upgrades(Vec<Upgrade>);

struct Upgrade {
    kind: Arc<str>,
    enabled: bool,
    filters: Option<FilterChain>,
}

/// What becomes of a request that asks for an upgrade.
pub(crate) enum Allowed<'a> {
    /// It may have it; with the filters of its own, if there are any.
    Yes(Arc<str>, Option<&'a FilterChain>),
    No,
}

impl Upgrades {
    pub(crate) fn build(
        configs: &[UpgradeConfig],
        stat_prefix: &str,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let path = context.path().field("upgrade_configs");
        let build = |(at, config): (usize, &UpgradeConfig)| {
            let path = path.index(at);
            let filters = if config.filters.is_empty() {
                None
            } else {
                let at = path.field("filters");
                Some(FilterChain::build(&config.filters, &at, "http upgrade", stat_prefix, context)?)
            };
            Ok(Upgrade {
                kind: config.upgrade_type.as_str().into(),
                enabled: config.enabled.unwrap_or(true),
                filters,
            })
        };
        configs.iter().enumerate().map(build).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this upgrade is allowed on this route. What the route says goes over what the connection manager says.
    pub(crate) fn allow(&self, kind: &str, route: Option<&Route>) -> Allowed<'_> {
        let here = self.0.iter().find(|upgrade| upgrade.kind.eq_ignore_ascii_case(kind));
        let by_route = route.and_then(|route| route.forward()?.upgrade(kind));
        if !by_route.unwrap_or(here.is_some_and(|upgrade| upgrade.enabled)) {
            return Allowed::No;
        }
        match here {
            Some(upgrade) => Allowed::Yes(Arc::clone(&upgrade.kind), upgrade.filters.as_ref()),
            None => Allowed::Yes(kind.into(), None),
        }
    }
}

/// The upgrade that a request asks for: `CONNECT`, or what its `upgrade` header names if `connection` says so too.
pub(crate) fn wanted(head: &RequestHead) -> Option<String> {
    if head.is_connect() {
        return Some("CONNECT".to_owned());
    }
    let kind = head.headers.get(header::UPGRADE)?;
    let connection = head.headers.get(header::CONNECTION)?.as_bytes();
    let upgrades = connection
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    kind.to_str().ok().filter(|_| upgrades).map(str::to_owned)
}
