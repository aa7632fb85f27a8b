//! HUP: the files and texts of the command line are read again, and the difference is taken over while traffic flows.
//!
//! Nothing changes unless all of it can: the configuration is read and built as `--mode validate` does it, compared with what
//! cannot change (`restart_only`), and the sockets of new listeners are opened. Then, in this order:
//!
//! 1. clusters are added and changed; those that look for their first hosts are waited for;
//! 2. runtime layers and listeners are taken over;
//! 3. clusters that are gone are removed when the connections that drain do not need them any more.
//!
//! Another HUP meanwhile begins anew from what is there; if its configuration is refused, the one before goes on.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;
use underpass_core::{
    build_context::BuildError,
    config::{Document, Report},
    stat_group,
    stats::Scope,
};

use super::{Server, problems, restart_only};
use crate::{
    bootstrap_dump,
    command_line::{Mode, Options},
    config::Bootstrap,
    listener_manager::HeldSockets,
    load, runtime_layers,
};

/// How often it is looked whether what is waited for is there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

stat_group! {
    /// What happened when the configuration file was read again.
    struct ReloadStats {
        /// How often it was taken over.
        counter config_reload_success,
        /// How often it was refused.
        counter config_reload_failure,
        /// When it was taken over last, in milliseconds since 1970.
        gauge config_reload_time_ms,
        /// 1 if the file as it was read last is in use, 0 if it was refused.
        gauge config_last_reload_successful,
    }
}

/// What is known from one time to the next.
pub(super) struct Reloads {
    stats: ReloadStats,
    /// The configuration in use.
    document: RefCell<Document>,
    /// Sockets of listeners that are to be added when clusters are ready.
    held: RefCell<HeldSockets>,
    /// Clusters that the file does not have any more, and when they go.
    leaving: RefCell<BTreeMap<Arc<str>, Instant>>,
    /// It is read again as soon as the process has started.
    pub(super) wanted: Cell<bool>,
}

/// A configuration that was read again and can be taken over.
pub(super) struct Next {
    bootstrap: Bootstrap,
    document: Document,
}

impl Reloads {
    pub(super) fn new(root: &Scope, document: Document) -> Self {
        let stats = ReloadStats::new(&root.scope("server"));
        stats.config_last_reload_successful.set(1);
        Self {
            stats,
            document: RefCell::new(document),
            held: RefCell::default(),
            leaving: RefCell::default(),
            wanted: Cell::default(),
        }
    }
}

impl Server {
    /// Reads the configuration again. If it can be taken over, what is returned does so.
    pub(super) fn reload(&self) -> Option<impl Future<Output = ()> + '_> {
        let name = self.options.config_name();
        self.service_manager.reloading(&format!("reading {name} again"));
        tracing::info!(target: "main", "reading the configuration '{name}' again");
        match self.read_again() {
            Ok(next) => Some(self.take_over(next)),
            Err(why) => {
                self.refuse(&format!("the configuration '{name}' is refused, the one before stays: {why}"));
                None
            }
        }
    }

    fn refuse(&self, message: &str) {
        let stats = &self.reloads.stats;
        stats.config_reload_failure.inc();
        stats.config_last_reload_successful.set(0);
        tracing::error!(target: "config", "{message}");
        self.service_manager.ready("serving; the configuration that was read last is refused, see the log");
    }

    /// Everything that is wrong is said at once, as a start would say it.
    fn read_again(&self) -> Result<Next, String> {
        if self.listeners.is_stopped() {
            return Err("listeners were stopped (/drain_listeners), so none can be added".to_owned());
        }
        let loaded = load::load(&self.options, &self.context.extensions);
        let loaded = loaded.map_err(|error| error.to_string())?;
        let mut report = Report::new();
        restart_only::check(&self.reloads.document.borrow(), &loaded.document, &mut report);
        let mut options = Options::clone(&self.options);
        options.mode = Mode::Validate;
        let extensions = Arc::clone(&self.context.extensions);
        let (built, found) = Self::build(options, Arc::clone(&self.logging), loaded, extensions);
        report.extend(found);
        report.sort();
        let Some(built) = built.filter(|_| !report.has_errors()) else { return Err(report.to_string()) };
        let next = Next { bootstrap: built.bootstrap, document: built.reloads.document.into_inner() };
        let tried = {
            let configs = problems::static_listeners(&next.bootstrap, &next.document);
            self.listeners.try_static(&configs, &self.reloads.held.borrow())
        };
        let held = tried.map_err(|errors| next.explain(errors).to_string())?;
        self.reloads.held.replace(held);
        report.warnings().for_each(|warning| tracing::warn!(target: "config", "{warning}"));
        Ok(next)
    }

    async fn take_over(&self, next: Next) {
        let mut errors = Vec::new();
        // Clusters may have sources that are asked over others of them.
        problems::Problems::announce_sources(&next.bootstrap, &self.context);
        let clusters = self.take_over_clusters(&next, &mut errors);
        let names: BTreeSet<String> =
            next.bootstrap.static_resources.clusters.iter().map(|it| it.name.clone()).collect();
        while names.iter().any(|name| self.clusters.is_warming(name)) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let layers = runtime_layers::layers(&next.bootstrap);
        self.context.runtime.replace_layers(layers);
        let changes = {
            let configs = problems::static_listeners(&next.bootstrap, &next.document);
            self.listeners.set_static(&configs, self.reloads.held.take())
        };
        for warning in next.explain_warnings(changes.warnings).warnings() {
            tracing::warn!(target: "config", "{warning}");
        }
        errors.extend(changes.errors);
        bootstrap_dump::add(&*self.admin, &next.document);
        let name = self.options.config_name();
        if errors.is_empty() {
            let stats = &self.reloads.stats;
            stats.config_reload_success.inc();
            stats.config_reload_time_ms.set(now_ms());
            stats.config_last_reload_successful.set(1);
            tracing::info!(
                target: "main",
                "the configuration '{name}' is taken over: clusters added or changed: {}; listeners added or changed: {}; \
                 listeners removed: {}",
                listed(&clusters), listed(&changes.changed), listed(&changes.removed)
            );
            self.service_manager.ready("serving; the configuration was taken over");
        } else {
            // Only what has changed since it was tried a moment ago can be in the way here.
            let report = next.explain(errors);
            self.refuse(&format!(
                "the configuration '{name}' is taken over but for what is refused: {report}"
            ));
        }
        self.reloads.document.replace(next.document);
        drop(next.bootstrap);
        self.remove_clusters_but(&names).await;
    }

    /// Adds and changes clusters. Returns which.
    fn take_over_clusters(&self, next: &Next, errors: &mut Vec<BuildError>) -> Vec<String> {
        // They were said when it was checked.
        let warnings = RefCell::default();
        let mut changed = Vec::new();
        for config in problems::static_clusters(&next.bootstrap, &next.document) {
            let name = &config.message.name;
            self.reloads.leaving.borrow_mut().remove(name.as_str());
            match self.clusters.set_static(&config, &warnings) {
                Ok(true) => changed.push(name.clone()),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
        changed
    }

    /// Removes the other clusters of the file when no listener needs them: neither one that warms in the place of another, nor
    /// connections that drain.
    async fn remove_clusters_but(&self, names: &BTreeSet<String>) {
        while self.listeners.is_static_warming() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let now = Instant::now();
        let until = if self.listeners.is_draining() { now + self.options.drain_time() } else { now };
        let mut gone = self.clusters.static_names();
        gone.retain(|name| !names.contains(&**name));
        self.reloads.leaving.borrow_mut().extend(gone.into_iter().map(|name| (name, until)));
        loop {
            let Some(next) = self.reloads.leaving.borrow().values().min().copied() else { return };
            tokio::time::sleep_until(next).await;
            let mut leaving = self.reloads.leaving.take();
            let due: Vec<_> = leaving
                .iter()
                .filter(|(_, until)| **until <= next)
                .map(|(name, _)| Arc::clone(name))
                .collect();
            leaving.retain(|_, until| *until > next);
            self.reloads.leaving.replace(leaving);
            for name in due {
                if self.clusters.remove_static(&name) {
                    tracing::info!(target: "upstream", "removed cluster '{name}', which the configuration does not have any more");
                }
            }
        }
    }
}

impl Next {
    fn explain(&self, errors: Vec<BuildError>) -> Report {
        let mut report = Report::new();
        problems::Problems { report: &mut report, document: &self.document }.errors(errors);
        report.sort();
        report
    }

    fn explain_warnings(&self, warnings: Vec<BuildError>) -> Report {
        let mut report = Report::new();
        problems::Problems { report: &mut report, document: &self.document }.warnings(warnings);
        report
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
