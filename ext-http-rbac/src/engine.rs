//! Rules: which policy a request fulfils, and what follows from it.

use underpass_core::{build_context::BuildError, config::ConfigPath};

use crate::{
    config::{Action, Rules},
    matching::Subject,
};

/// Rules, ready to be asked.
pub(crate) struct Engine {
    action: Action,
    /// In the order of their names.
    policies: Vec<(String, crate::config::Policy)>,
    /// What stands before what it leaves in dynamic metadata.
    pub(crate) metadata_prefix: String,
}

/// What the rules say of a request.
pub(crate) struct Verdict<'e> {
    pub(crate) allowed: bool,
    /// The policy that it fulfils.
    pub(crate) policy: Option<&'e str>,
    /// For `LOG`: whether it fulfils one.
    pub(crate) log_hint: Option<bool>,
}

impl Engine {
    /// `path` is where the rules stand.
    pub(crate) fn build(rules: &Rules, prefix: &str, path: &ConfigPath) -> Result<Self, BuildError> {
        let mut policies = Vec::with_capacity(rules.policies.len());
        for (name, policy) in &rules.policies {
            policy.check(&path.field("policies").key(name))?;
            policies.push((name.clone(), policy.clone()));
        }
        Ok(Self { action: rules.action, policies, metadata_prefix: prefix.to_owned() })
    }

    pub(crate) fn ask(&self, subject: &Subject<'_>) -> Verdict<'_> {
        let policy = self.policies.iter().find(|(_, policy)| policy.matches(subject));
        let policy = policy.map(|(name, _)| name.as_str());
        let (allowed, log_hint) = match self.action {
            Action::Allow => (policy.is_some(), None),
            Action::Deny => (policy.is_none(), None),
            Action::Log => (true, Some(policy.is_some())),
        };
        Verdict { allowed, policy, log_hint }
    }
}
