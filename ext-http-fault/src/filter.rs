//! The filter at work.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use underpass_core::{
    connection::BoxFuture,
    response_flags::ResponseFlag,
    runtime::RuntimeSnapshot,
    stat_group,
    stats::{GaugeHold, Scope},
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterContext, Next},
    local_reply::local_reply_with_grpc_status,
};

use crate::{
    limited_body::FaultyBody,
    settings::{Settings, Subject},
};

stat_group! {
    /// What it counts.
    struct FaultStats {
        counter delays_injected,
        counter aborts_injected,
        counter response_rl_injected,
        counter faults_overflow,
        gauge active_faults,
    }
}

pub(crate) struct FaultFilter {
    name: Arc<str>,
    settings: Arc<Settings>,
    stats: FaultStats,
    scope: Scope,
}

/// What a request has had so far. The faults of one request count as one active fault, until it is done.
struct Injected {
    runtime: Arc<RuntimeSnapshot>,
    downstream_cluster: Option<String>,
    active: RefCell<Option<GaugeHold>>,
}

impl FaultFilter {
    pub(crate) fn new(settings: Settings, context: &HttpFilterContext<'_>) -> Self {
        let scope = context.scope("fault");
        Self {
            name: context.name.into(),
            settings: Arc::new(settings),
            stats: FaultStats::new(&scope),
            scope,
        }
    }

    /// Whether one more fault is allowed. The limit is fuzzy, as Envoy's circuit breakers are.
    fn activate(&self, settings: &Settings, injected: &Injected) -> bool {
        let mut active = injected.active.borrow_mut();
        if active.is_some() {
            return true;
        }
        if self.stats.active_faults.value() >= settings.max_active_faults(&injected.runtime) {
            self.stats.faults_overflow.inc();
            return false;
        }
        *active = Some(self.stats.active_faults.hold());
        true
    }

    /// Counts a fault by downstream cluster; these stats are looked up, since only requests tell which there are.
    fn count_by_cluster(&self, settings: &Settings, injected: &Injected, name: &str) {
        if let Some(cluster) = injected.downstream_cluster.as_deref()
            && settings.downstream_cluster_stats
        {
            self.scope.counter(&format!("{cluster}.{name}")).inc();
        }
    }

    fn note(&self, settings: &Settings, stream: &HttpStream, flag: ResponseFlag) {
        stream.info.set_flag(flag);
        if let Some(values) = &settings.metadata {
            stream.info.dynamic_metadata.borrow_mut().merge(Arc::clone(&self.name), values.clone());
        }
    }

    /// Lets a request wait.
    async fn delay(&self, settings: &Settings, injected: &Injected, stream: &HttpStream) {
        let delay = injected.ask(stream, |subject| settings.delay(subject));
        if let Some(delay) = delay.filter(|_| self.activate(settings, injected)) {
            self.note(settings, stream, ResponseFlag::DelayInjected);
            self.stats.delays_injected.inc();
            self.count_by_cluster(settings, injected, "delays_injected");
            tokio::time::sleep(delay).await;
        }
    }

    /// The answer of an aborted request.
    fn abort(&self, settings: &Settings, injected: &Injected, stream: &HttpStream) -> Option<Response> {
        let (status, grpc_status) = injected.ask(stream, |subject| settings.abort(subject))?;
        if !self.activate(settings, injected) {
            return None;
        }
        self.note(settings, stream, ResponseFlag::FaultInjected);
        self.stats.aborts_injected.inc();
        self.count_by_cluster(settings, injected, "aborts_injected");
        let body = settings.abort_body();
        Some(local_reply_with_grpc_status(stream, status, body, "fault_filter_abort", grpc_status))
    }

    /// How many KiB a second the answer may have.
    fn rate_limit(&self, settings: &Settings, injected: &Injected, stream: &HttpStream) -> Option<u64> {
        let kbps = injected.ask(stream, |subject| settings.rate_limit(subject))?;
        if !self.activate(settings, injected) {
            return None;
        }
        self.stats.response_rl_injected.inc();
        Some(kbps)
    }
}

impl Injected {
    fn new(stream: &HttpStream) -> Self {
        let cluster = stream.request().get("x-envoy-downstream-service-cluster").map(str::to_owned);
        Self {
            runtime: stream.worker().server().runtime.snapshot(),
            downstream_cluster: cluster.filter(|cluster| !cluster.is_empty()),
            active: RefCell::default(),
        }
    }

    fn ask<T>(&self, stream: &HttpStream, question: impl FnOnce(&Subject<'_>) -> T) -> T {
        question(&Subject {
            head: &stream.request(),
            runtime: &self.runtime,
            downstream_cluster: self.downstream_cluster.as_deref(),
        })
    }
}

impl HttpFilter for FaultFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let settings = stream.route_config(&self.name).unwrap_or_else(|| Arc::clone(&self.settings));
        if !settings.concern(stream) {
            return next.run(stream, body);
        }
        Box::pin(async move {
            let injected = Injected::new(stream);
            let kbps = self.rate_limit(&settings, &injected, stream);
            self.delay(&settings, &injected, stream).await;
            let response = match self.abort(&settings, &injected, stream) {
                Some(answer) => next.reply(stream, answer),
                None => next.run(stream, body).await,
            };
            let active = injected.active.take();
            if active.is_none() {
                response
            } else {
                response.map(|body| FaultyBody::wrap(body, kbps, active))
            }
        })
    }
}
