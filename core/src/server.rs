//! The process as extensions see it: what exists once and is shared by all workers.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    access_log::AccessLogManager, admin::Admin, config::Struct, config_subscription::ResourceReader,
    extension::ExtensionSet, init::InitManager, runtime::Runtime, stats::Scope,
};

/// What exists once in a process.
pub struct ServerContext {
    /// The root of all stats.
    pub stats: Scope,
    /// Runtime keys (`layered_runtime`).
    pub runtime: Arc<Runtime>,
    /// The extensions that are linked.
    pub extensions: Arc<ExtensionSet>,
    /// Who this process is.
    pub node: NodeInfo,
    /// What the command line decided.
    pub options: ServerOptions,
    /// The files of access logs.
    pub access_logs: Arc<dyn AccessLogManager>,
    /// The admin interface.
    pub admin: Arc<dyn Admin>,
    /// What the start waits for.
    pub init: Arc<InitManager>,
    /// Things that extensions keep once per process.
    pub singletons: Singletons,
    /// Numbers of connections.
    pub connection_ids: ConnectionIds,
    /// Whether health checks of this process fail.
    pub health_checks: Arc<HealthCheckState>,
    /// Reads resources that come while the process runs.
    pub resources: ResourceReader,
}

/// Whether health checks of the process are to fail, as an operator says (`/healthcheck/fail`).
#[derive(Debug, Default)]
pub struct HealthCheckState(AtomicBool);

impl HealthCheckState {
    /// Makes them fail, or pass again.
    pub fn fail(&self, fail: bool) {
        self.0.store(fail, Ordering::Relaxed);
    }

    /// Whether they fail.
    pub fn failing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who a process is, for logs and control planes.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are those of the configuration")]
pub struct NodeInfo {
    pub id: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    pub sub_zone: String,
    pub metadata: Struct,
}

/// What the command line decided, as far as extensions may care.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How many workers there are.
    pub concurrency: usize,
    /// How long draining may take.
    pub drain_time: Duration,
    /// Whether the configuration is only checked (`--mode validate`): nothing is opened or started.
    pub validate: bool,
}

/// Gives each connection of the process a number, downstream and upstream ones alike.
#[derive(Debug, Default)]
pub struct ConnectionIds(AtomicU64);

impl ConnectionIds {
    /// The next number; the first is 1.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Typed places of the process or of a cluster, shared by all threads: at most one value of each type. Not for the data path.
#[derive(Default)]
pub struct Singletons(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Singletons {
    /// The value of that type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok())
    }

    /// The value of that type, made if there is none.
    pub fn get_or_insert_with<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present = values.get(&TypeId::of::<T>()).cloned().and_then(|value| value.downcast().ok());
        present.unwrap_or_else(|| {
            let value = Arc::new(make());
            values.insert(TypeId::of::<T>(), Arc::clone(&value) as _);
            value
        })
    }

    /// Puts a value there; one of the same type is replaced.
    pub fn insert<T: Send + Sync + 'static>(&self, value: Arc<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), value);
    }
}
