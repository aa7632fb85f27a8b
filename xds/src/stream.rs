//! One stream to a control plane: opened, kept open, and opened again, as long as somebody subscribes on it.
//!
//! It lives on the main thread. What a control plane sends is delivered right here, so that the ACK or NACK can follow at
//! once; whoever is told may subscribe to more, which is asked for just before the answer.

use std::{collections::HashMap, future::pending, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use underpass_core::{
    config::ConfigPath,
    config_subscription::{ConfigResource, ConfigUpdate, Delivery, Gone},
    stat_group,
    stats::Scope,
    worker::Worker,
};

use crate::{
    backoff::Backoff,
    grpc::{Code, GrpcStream, Status, Target},
    mux::{Interest, Mux, Resource, Update, WatchId},
    proto::Node,
    rate_limit::TokenBucket,
    resource_type::{Protocol, type_url},
};

stat_group! {
    /// <https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/mgmt_server#management-server-statistics>
    pub struct ControlPlaneStats {
        /// Requests that could not be sent at once since too many were.
        counter rate_limit_enforced,
        /// Whether there is a stream.
        gauge connected_state,
        /// Requests that wait to be sent.
        gauge pending_requests,
        /// How the control plane calls itself.
        text_readout identifier,
    }
}

/// How many responses may wait for their answer, since the rate of requests is limited, before no more are read.
const MAX_UNANSWERED: usize = 1000;

/// Names a subscription on a stream.
pub(crate) type SubscriptionId = u64;

/// What subscribers want.
pub(crate) enum Command {
    /// A new subscription.
    Subscribe(SubscriptionId, Delivery),
    /// Other names.
    SetNames(SubscriptionId, Vec<Arc<str>>),
    /// The end of it.
    Unsubscribe(SubscriptionId),
}

/// What a stream is like.
pub(crate) struct Settings {
    pub(crate) target: Arc<Target>,
    pub(crate) protocol: Protocol,
    pub(crate) backoff: Backoff,
    /// How many requests at once, and how many more in a second.
    pub(crate) rate_limit: Option<(u32, f64)>,
    pub(crate) node: Node,
    pub(crate) node_on_first_message_only: bool,
    /// Its stats stand in `control_plane.` of this.
    pub(crate) scope: Scope,
}

/// A stream, open or not.
pub(crate) struct Stream {
    worker: Rc<Worker>,
    target: Arc<Target>,
    mux: Mux,
    commands: UnboundedReceiver<Command>,
    watches: HashMap<SubscriptionId, WatchId>,
    watchers: HashMap<WatchId, Watcher>,
    stats: ControlPlaneStats,
    backoff: Backoff,
    limit: Option<TokenBucket>,
    /// When the stream broke that was never replaced by one that works.
    broken: Option<Broken>,
}

struct Watcher {
    type_url: String,
    delivery: Delivery,
    /// Of what was delivered last.
    version: Arc<str>,
}

struct Broken {
    since: Instant,
    code: Code,
}

/// Why a stream is not there any more.
enum Ended {
    /// Nobody can subscribe any more.
    Unwanted,
    Closed(Status),
}

impl Stream {
    pub(crate) fn new(worker: &Rc<Worker>, settings: Settings, commands: UnboundedReceiver<Command>) -> Self {
        let Settings { target, protocol, backoff, rate_limit, node, node_on_first_message_only, scope } =
            settings;
        let limit = rate_limit.map(|(max, per_second)| TokenBucket::new(max, per_second, Instant::now()));
        Self {
            worker: Rc::clone(worker),
            target,
            mux: Mux::new(protocol, node, node_on_first_message_only),
            commands,
            watches: HashMap::new(),
            watchers: HashMap::new(),
            stats: ControlPlaneStats::new(&scope.scope("control_plane")),
            backoff,
            limit,
            broken: None,
        }
    }

    /// Runs until nobody can subscribe any more.
    pub(crate) async fn run(mut self) {
        loop {
            match self.connected().await {
                Ended::Unwanted => return,
                Ended::Closed(status) => self.closed(&status),
            }
            let wait = self.backoff.next();
            let wanted = self.serve_commands_until(tokio::time::sleep(wait)).await;
            if wanted.is_none() {
                return;
            }
        }
    }

    /// Opens a stream and keeps it busy until it ends.
    async fn connected(&mut self) -> Ended {
        let opening = GrpcStream::open(Rc::clone(&self.worker), Arc::clone(&self.target));
        let mut stream = match self.serve_commands_until(opening).await {
            None => return Ended::Unwanted,
            Some(Err(status)) => return Ended::Closed(status),
            Some(Ok(stream)) => stream,
        };
        tracing::debug!(target: "config", "{} opened", self.describe());
        self.mux.stream_opened();
        self.stats.connected_state.set(1);
        let ended = self.converse(&mut stream).await;
        self.stats.connected_state.set(0);
        self.stats.pending_requests.set(0);
        self.mux.stream_closed();
        ended
    }

    async fn converse(&mut self, stream: &mut GrpcStream) -> Ended {
        loop {
            while let Ok(command) = self.commands.try_recv() {
                self.obey(command);
            }
            let next_token = self.send_requests(stream);
            let expiry = self.mux.next_expiry();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return Ended::Unwanted,
                },
                message = stream.next(), if self.mux.unanswered() < MAX_UNANSWERED => match message {
                    Ok(message) => {
                        if let Err(status) = self.take_in(message) {
                            return Ended::Closed(status);
                        }
                    }
                    Err(status) => return Ended::Closed(status),
                },
                () = until(next_token) => {}
                () = until(expiry) => self.expire(),
            }
        }
    }

    /// Obeys commands until something else is done; `None` once nobody can give any.
    async fn serve_commands_until<T>(&mut self, done: impl Future<Output = T>) -> Option<T> {
        let mut done = std::pin::pin!(done);
        loop {
            let expiry = self.mux.next_expiry();
            tokio::select! {
                outcome = &mut done => return Some(outcome),
                command = self.commands.recv() => self.obey(command?),
                () = until(expiry) => self.expire(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe(id, delivery) => {
                let type_url = type_url(delivery.type_name());
                delivery.attempt();
                let watch = self.mux.watch(&type_url, interest(&delivery.names()));
                let known = self.mux.known(watch, &type_url);
                self.watches.insert(id, watch);
                self.watchers.insert(watch, Watcher { type_url, delivery, version: "".into() });
                if let Some(update) = known
                    && let Err(error) = self.deliver(watch, update)
                {
                    tracing::warn!(target: "config", "gRPC config that is here already rejected: {error}");
                }
            }
            Command::SetNames(id, names) => {
                if let Some((watch, watcher)) =
                    self.watches.get(&id).and_then(|watch| Some((*watch, self.watchers.get(watch)?)))
                {
                    watcher.delivery.attempt();
                    self.mux.update_watch(watch, &watcher.type_url, interest(&names));
                }
            }
            Command::Unsubscribe(id) => {
                let watch = self.watches.remove(&id);
                if let Some((watch, watcher)) = watch.and_then(|watch| self.watchers.remove_entry(&watch)) {
                    self.mux.unwatch(watch, &watcher.type_url);
                }
            }
        }
    }

    /// Sends what may be sent. Returns when the next request may follow, if one waits for that.
    fn send_requests(&mut self, stream: &mut GrpcStream) -> Option<Instant> {
        let mut next_token = None;
        while self.mux.pending() > 0 {
            if let Some(limit) = &mut self.limit {
                let now = Instant::now();
                if let Err(wait) = limit.take(now) {
                    self.stats.rate_limit_enforced.inc();
                    next_token = Some(now + wait);
                    break;
                }
            }
            let Some(request) = self.mux.next_request() else { break };
            // If the stream is gone, it says so itself.
            let _ = stream.send(&request);
        }
        self.stats.pending_requests.set(self.mux.pending() as u64);
        next_token
    }

    /// Delivers a response, and makes the answer to it.
    fn take_in(&mut self, message: Bytes) -> Result<(), Status> {
        let response = self.mux.received(message, Instant::now());
        let mut response =
            response.map_err(|error| Status { code: Code::INTERNAL, message: error.to_string() })?;
        // Only one that makes sense shows that the control plane works.
        self.backoff.reset();
        self.broken = None;
        if let Some(identifier) = &response.control_plane {
            self.stats.identifier.set(identifier);
        }
        if !response.was_asked_for() {
            let type_url = response.type_url();
            tracing::warn!(target: "config", "Ignoring the message for type URL {type_url} as it has no current subscribers.");
        }
        if let Some((reason, watches)) = &response.rejection {
            tracing::warn!(target: "config", "gRPC config for {} rejected: {reason}", response.type_url());
            for watcher in watches.iter().filter_map(|watch| self.watchers.get(watch)) {
                watcher.delivery.attempt();
                watcher.delivery.reject();
            }
        }
        let mut errors = Vec::new();
        for (watch, update) in std::mem::take(&mut response.deliveries) {
            if let Err(error) = self.deliver(watch, update) {
                tracing::warn!(target: "config", "gRPC config for {} rejected: {error}", response.type_url());
                errors.push(error);
            }
        }
        // What the resources need in turn is asked for before they are acknowledged, as Envoy does.
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        self.mux.settle(response, &errors);
        Ok(())
    }

    fn deliver(&mut self, watch: WatchId, update: Update) -> Result<(), String> {
        let Some(watcher) = self.watchers.get_mut(&watch) else { return Ok(()) };
        let is_delta = matches!(update, Update::Delta { .. });
        let update = match update {
            Update::State { resources, version } => ConfigUpdate {
                version,
                resources: resources.into_iter().map(resource).collect(),
                gone: Gone::Rest,
            },
            Update::Delta { changed, removed, version } => ConfigUpdate {
                version,
                resources: changed.into_iter().map(resource).collect(),
                gone: Gone::Named(removed),
            },
        };
        watcher.delivery.attempt();
        if let Err(error) = watcher.delivery.deliver(&update) {
            if is_delta {
                // Envoy counts a delta that a watcher refuses twice.
                watcher.delivery.attempt();
            }
            return Err(error);
        }
        watcher.version = update.version;
        Ok(())
    }

    /// Resources that the control plane has not confirmed in time are gone.
    fn expire(&mut self) {
        for (watch, update) in self.mux.expire(Instant::now()) {
            let Some(watcher) = self.watchers.get(&watch) else { continue };
            // There is no answer that could have a version of its own.
            let version = Arc::clone(&watcher.version);
            let Update::Delta { changed, removed, .. } = update else { continue };
            if let Err(error) = self.deliver(watch, Update::Delta { changed, removed, version }) {
                tracing::warn!(target: "config", "resources whose time is up could not be removed: {error}");
            }
        }
    }

    /// Says that there is no stream: at first and when the reason changes so that an operator sees it, else quietly.
    fn closed(&mut self, status: &Status) {
        let stream = self.describe();
        match &self.broken {
            Some(broken) if broken.code == status.code => {
                let seconds = broken.since.elapsed().as_secs();
                tracing::debug!(target: "config", "{stream} closed since {seconds}s ago: {status}");
            }
            _ => tracing::warn!(target: "config", "{stream} closed: {status}"),
        }
        let since = self.broken.take().map_or_else(Instant::now, |broken| broken.since);
        self.broken = Some(Broken { since, code: status.code });
        for watcher in self.watchers.values() {
            watcher.delivery.unreachable();
        }
    }

    fn describe(&self) -> String {
        let method = self.target.method.path().rsplit('/').next().unwrap_or_default();
        format!("{method} gRPC config stream to {}", self.target.cluster)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stats.connected_state.set(0);
        self.stats.pending_requests.set(0);
    }
}

fn interest(names: &[Arc<str>]) -> Interest {
    if names.is_empty() { Interest::All } else { Interest::Names(names.iter().cloned().collect()) }
}

fn resource(resource: Resource) -> ConfigResource {
    let Resource { name, version, tree } = resource;
    ConfigResource { name, version, node: tree, path: ConfigPath::root(), time_to_live: None }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
