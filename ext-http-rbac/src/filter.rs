//! The filter at work.

use std::{rc::Rc, sync::Arc};

use http::StatusCode;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, Struct, Value},
    connection::BoxFuture,
    stats::{Counter, Scope},
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterContext, Next},
    local_reply::local_reply,
};

use crate::{
    config::Rbac,
    engine::{Engine, Verdict},
    matching::Subject,
};

/// The namespace of what the engines say.
const NAMESPACE: &str = "envoy.filters.http.rbac";

/// The namespace of what is of use to several filters.
const COMMON: &str = "envoy.common";

/// The rules of the chain, or of a route.
#[derive(Default)]
pub(crate) struct Settings {
    rules: Option<Engine>,
    shadow_rules: Option<Engine>,
    track_policies: bool,
}

impl Settings {
    /// `path` is where the message stands.
    pub(crate) fn build(config: &Rbac, path: &ConfigPath) -> Result<Self, BuildError> {
        let engine = |rules: &Option<crate::config::Rules>, prefix: &str, field: &str| {
            rules.as_ref().map(|rules| Engine::build(rules, prefix, &path.field(field))).transpose()
        };
        Ok(Self {
            rules: engine(&config.rules, &config.rules_stat_prefix, "rules")?,
            shadow_rules: engine(&config.shadow_rules, &config.shadow_rules_stat_prefix, "shadow_rules")?,
            track_policies: config.track_per_rule_stats,
        })
    }
}

pub(crate) struct RbacFilter {
    name: Box<str>,
    settings: Arc<Settings>,
    enforced: Outcomes,
    shadow: Outcomes,
}

/// What is counted of an engine's verdicts. A route's engines count in the chain's.
struct Outcomes {
    kind: &'static str,
    allowed: Counter,
    denied: Counter,
    /// For the stats of policies, which are looked up as they are needed: routes have policies, too.
    scope: Scope,
}

impl Outcomes {
    fn new(scope: Scope, kind: &'static str) -> Self {
        let counter = |name: &str| scope.counter(&format!("{kind}{name}"));
        Self { kind, allowed: counter("allowed"), denied: counter("denied"), scope }
    }

    fn count(&self, verdict: &Verdict<'_>, track_policies: bool) {
        let (counter, name) =
            if verdict.allowed { (&self.allowed, "allowed") } else { (&self.denied, "denied") };
        counter.inc();
        if let Some(policy) = verdict.policy.filter(|_| track_policies) {
            self.scope.counter(&format!("policy.{policy}.{}{name}", self.kind)).inc();
        }
    }
}

impl RbacFilter {
    pub(crate) fn new(config: &Rbac, settings: Settings, context: &HttpFilterContext<'_>) -> Self {
        let scope = context.scope("rbac");
        Self {
            name: context.name.into(),
            settings: Arc::new(settings),
            enforced: Outcomes::new(scope.scope(&config.rules_stat_prefix), ""),
            shadow: Outcomes::new(scope.scope(&config.shadow_rules_stat_prefix), "shadow_"),
        }
    }

    /// The answer to a request that is turned away.
    fn decide(&self, settings: &Settings, stream: &HttpStream) -> Option<Response> {
        let head = stream.request();
        let subject = Subject { stream, head: &head };
        if let Some(engine) = &settings.shadow_rules {
            let verdict = engine.ask(&subject);
            self.shadow.count(&verdict, settings.track_policies);
            note(stream, &engine.metadata_prefix, "shadow", &verdict);
        }
        let engine = settings.rules.as_ref()?;
        let verdict = engine.ask(&subject);
        drop(head);
        self.enforced.count(&verdict, settings.track_policies);
        note(stream, &engine.metadata_prefix, "enforced", &verdict);
        if let Some(hint) = verdict.log_hint {
            let values = Struct::from_iter([("access_log_hint".to_owned(), Value::Bool(hint))]);
            stream.info.dynamic_metadata.borrow_mut().merge(COMMON, values);
        }
        if verdict.allowed {
            return None;
        }
        // A space would break the columns of access logs.
        let policy =
            verdict.policy.unwrap_or("none").replace(|letter: char| letter.is_ascii_whitespace(), "_");
        let details = format!("rbac_access_denied_matched_policy[{policy}]");
        Some(local_reply(stream, StatusCode::FORBIDDEN, "RBAC: access denied", details))
    }
}

/// Leaves the verdict in the dynamic metadata.
fn note(stream: &HttpStream, prefix: &str, kind: &str, verdict: &Verdict<'_>) {
    let result = if verdict.allowed { "allowed" } else { "denied" };
    let mut values = Struct::default();
    values.insert(format!("{prefix}{kind}_engine_result"), Value::String(result.to_owned()));
    if let Some(policy) = verdict.policy {
        values.insert(format!("{prefix}{kind}_effective_policy_id"), Value::String(policy.to_owned()));
    }
    stream.info.dynamic_metadata.borrow_mut().merge(NAMESPACE, values);
}

impl HttpFilter for RbacFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let settings = stream.route_config(&self.name).unwrap_or_else(|| Arc::clone(&self.settings));
        match self.decide(&settings, stream) {
            Some(answer) => Box::pin(std::future::ready(next.reply(stream, answer))),
            None => next.run(stream, body),
        }
    }
}
