//! What a cluster's answers are counted in: `cluster.<name>.upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_time` and the
//! like, all of them also by where the request came from and who answered.
//!
//! Envoy makes such a stat when it is first needed, and so does this. What was made once is found again by index: no
//! request looks up a label.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/upstream/cluster_manager/cluster_stats#dynamic-http-statistics>

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use underpass_core::{
    cluster::ClusterInfo,
    stat_group,
    stats::{Counter, Histogram, Scope, Unit},
};

/// The stats of one cluster's answers, shared by all workers.
#[derive(Debug)]
pub struct ResponseStats {
    scope: Scope,
    all: Answers,
    external: Answers,
    internal: Answers,
    canary: Answers,
    retry: Answers,
    /// By zones and by `x-envoy-upstream-alt-stat-name`, which few use.
    named: RwLock<HashMap<String, Arc<Answers>>>,
}

/// What an answer is counted by, besides its status.
#[derive(Debug, Default, Clone, Copy)]
pub struct Answered<'a> {
    /// The request came from inside (`x-envoy-internal`).
    pub internal: bool,
    /// A canary answered.
    pub canary: bool,
    /// The zone of this proxy; empty where it has none.
    pub from_zone: &'a str,
    /// The zone of the host; empty where it has none.
    pub to_zone: &'a str,
    /// Leaves out the stats by status (`suppress_grpc_request_failure_code_stats`).
    pub without_codes: bool,
    /// A second set of names (`x-envoy-upstream-alt-stat-name`).
    pub alternative_name: Option<&'a str>,
}

impl ResponseStats {
    /// Those of a cluster.
    pub fn of(cluster: &ClusterInfo) -> &Self {
        let stats = cluster.response_stats.get_or_init(|| Box::new(Self::new(cluster.scope.clone())));
        // proven: nobody else puts anything there.
        #[expect(clippy::expect_used, reason = "proven above")]
        stats.downcast_ref().expect("the stats of the answers")
    }

    fn new(scope: Scope) -> Self {
        Self {
            scope,
            all: Answers::new(""),
            external: Answers::new("external."),
            internal: Answers::new("internal."),
            canary: Answers::new("canary."),
            retry: Answers::new("retry."),
            named: RwLock::default(),
        }
    }

    /// Counts an answer.
    pub fn count(&self, status: u16, answered: &Answered<'_>) {
        self.for_each(answered, |stats| stats.count(&self.scope, status, answered.without_codes));
    }

    /// Counts an answer that was not passed on, since the request is tried again.
    pub fn count_retried(&self, status: u16, without_codes: bool) {
        self.retry.count(&self.scope, status, without_codes);
    }

    /// Notes how long an answer took, from the end of the request to its own end.
    pub fn record_time(&self, time: Duration, answered: &Answered<'_>) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.for_each(answered, |stats| stats.record_time(&self.scope, time));
    }

    fn for_each(&self, answered: &Answered<'_>, mut act: impl FnMut(&Answers)) {
        act(&self.all);
        if answered.canary {
            act(&self.canary);
        }
        act(if answered.internal { &self.internal } else { &self.external });
        let zones = !answered.from_zone.is_empty() && !answered.to_zone.is_empty();
        let zones = zones.then(|| format!("zone.{}.{}.", answered.from_zone, answered.to_zone));
        if let Some(zones) = &zones {
            act(&self.named(zones));
        }
        let Some(name) = answered.alternative_name else { return };
        act(&self.named(&format!("{name}.")));
        if answered.canary {
            act(&self.named(&format!("{name}.canary.")));
        }
        let from = if answered.internal { "internal" } else { "external" };
        act(&self.named(&format!("{name}.{from}.")));
        if let Some(zones) = &zones {
            act(&self.named(&format!("{name}.{zones}")));
        }
    }

    fn named(&self, prefix: &str) -> Arc<Answers> {
        if let Some(known) = self.named.read().unwrap_or_else(PoisonError::into_inner).get(prefix) {
            return Arc::clone(known);
        }
        let mut named = self.named.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(named.entry(prefix.to_owned()).or_insert_with(|| Arc::new(Answers::new(prefix))))
    }
}

stat_group! {
    /// What is counted of the requests of a route, besides answers.
    pub struct RouteCounters {
        /// Retries.
        counter upstream_rq_retry,
        /// Requests that were tried as often as they may be.
        counter upstream_rq_retry_limit_exceeded,
        /// Retries that a circuit breaker refused.
        counter upstream_rq_retry_overflow,
        /// Retries that came to something.
        counter upstream_rq_retry_success,
        /// Requests whose time was up.
        counter upstream_rq_timeout,
        /// Requests that went upstream.
        counter upstream_rq_total,
    }
}

/// The stats of a route that has a `stat_prefix`: `vhost.<virtual host>.route.<stat_prefix>.…`.
#[derive(Debug)]
pub struct RouteStats {
    /// What is counted besides answers.
    pub counters: RouteCounters,
    scope: Scope,
    answers: Answers,
}

impl RouteStats {
    /// Those of a route; `stats` is the root of all stats.
    pub fn new(virtual_host: &str, stat_prefix: &str, stats: &Scope) -> Self {
        let scope = stats.scope(&format!("vhost.{virtual_host}.route.{stat_prefix}"));
        Self { counters: RouteCounters::new(&scope), scope, answers: Answers::new("") }
    }

    /// Counts an answer.
    pub fn count(&self, status: u16, without_codes: bool) {
        self.answers.count(&self.scope, status, without_codes);
    }

    /// Notes how long an answer took.
    pub fn record_time(&self, time: Duration) {
        self.answers.record_time(&self.scope, u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }
}

/// The answers of one kind.
#[derive(Debug)]
struct Answers {
    prefix: Box<str>,
    completed: OnceLock<Counter>,
    /// By hundreds: `upstream_rq_2xx`.
    groups: [OnceLock<Counter>; 5],
    /// By hundreds, and in each by what is left. Most hundreds are never needed.
    codes: [OnceLock<Box<[OnceLock<Counter>]>>; 5],
    /// Statuses outside 100 to 599.
    strange: RwLock<HashMap<u16, Counter>>,
    time: OnceLock<Histogram>,
}

impl Answers {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            completed: OnceLock::new(),
            groups: Default::default(),
            codes: Default::default(),
            strange: RwLock::default(),
            time: OnceLock::new(),
        }
    }

    fn count(&self, scope: &Scope, status: u16, without_codes: bool) {
        let counter = |name: &str| scope.counter(&format!("{}upstream_rq_{name}", self.prefix));
        self.completed.get_or_init(|| counter("completed")).inc();
        if without_codes {
            return;
        }
        let (hundred, rest) = (usize::from(status / 100), usize::from(status % 100));
        let Some(index) = hundred.checked_sub(1).filter(|index| *index < self.groups.len()) else {
            let mut strange = self.strange.write().unwrap_or_else(PoisonError::into_inner);
            strange.entry(status).or_insert_with(|| counter(&status.to_string())).inc();
            return;
        };
        self.groups[index].get_or_init(|| counter(&format!("{hundred}xx"))).inc();
        let codes =
            self.codes[index].get_or_init(|| std::iter::repeat_with(OnceLock::new).take(100).collect());
        codes[rest].get_or_init(|| counter(&status.to_string())).inc();
    }

    fn record_time(&self, scope: &Scope, milliseconds: u64) {
        let name = || format!("{}upstream_rq_time", self.prefix);
        self.time.get_or_init(|| scope.histogram(&name(), Unit::Milliseconds)).record(milliseconds);
    }
}

#[cfg(test)]
mod tests {
    use underpass_core::stats::Store;

    use super::*;

    fn counted(store: &Store) -> Vec<String> {
        let counters = store.snapshot().counters.into_iter().filter(|counter| counter.value > 0);
        counters.map(|counter| format!("{} {}", counter.name, counter.value)).collect()
    }

    #[test]
    fn answers_are_counted_by_status_and_by_where_the_request_came_from() {
        let store = Store::new(1);
        let cluster = ClusterInfo::new("up", &store.scope(""));
        let stats = ResponseStats::of(&cluster);
        stats.count(200, &Answered::default());
        stats.count(204, &Answered { internal: true, ..Answered::default() });
        stats.count(999, &Answered { without_codes: true, ..Answered::default() });
        insta::assert_snapshot!(counted(&store).join("\n"), @r"
        cluster.up.external.upstream_rq_200 1
        cluster.up.external.upstream_rq_2xx 1
        cluster.up.external.upstream_rq_completed 2
        cluster.up.internal.upstream_rq_204 1
        cluster.up.internal.upstream_rq_2xx 1
        cluster.up.internal.upstream_rq_completed 1
        cluster.up.upstream_rq_200 1
        cluster.up.upstream_rq_204 1
        cluster.up.upstream_rq_2xx 2
        cluster.up.upstream_rq_completed 3
        ");
    }

    #[test]
    fn canaries_zones_and_retries_have_names_of_their_own() {
        let store = Store::new(1);
        let cluster = ClusterInfo::new("up", &store.scope(""));
        let stats = ResponseStats::of(&cluster);
        let answered = Answered { canary: true, from_zone: "a", to_zone: "b", ..Answered::default() };
        stats.count(503, &answered);
        stats.count_retried(502, false);
        insta::assert_snapshot!(counted(&store).join("\n"), @r"
        cluster.up.canary.upstream_rq_503 1
        cluster.up.canary.upstream_rq_5xx 1
        cluster.up.canary.upstream_rq_completed 1
        cluster.up.external.upstream_rq_503 1
        cluster.up.external.upstream_rq_5xx 1
        cluster.up.external.upstream_rq_completed 1
        cluster.up.retry.upstream_rq_502 1
        cluster.up.retry.upstream_rq_5xx 1
        cluster.up.retry.upstream_rq_completed 1
        cluster.up.upstream_rq_503 1
        cluster.up.upstream_rq_5xx 1
        cluster.up.upstream_rq_completed 1
        cluster.up.zone.a.b.upstream_rq_503 1
        cluster.up.zone.a.b.upstream_rq_5xx 1
        cluster.up.zone.a.b.upstream_rq_completed 1
        ");
    }
}
