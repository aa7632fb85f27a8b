//! The clusters as one worker sees them.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use underpass_core::{
    cluster::{Cluster, ClusterManager},
    connection::BoxFuture,
    stats::Gauge,
    worker::Worker,
};

use super::{
    directory::{Change, Directory, Mailbox},
    worker_cluster::WorkerCluster,
};
use crate::client_connection::Factories;

/// The clusters of one worker: those that it uses, kept up to date.
pub(crate) struct WorkerView {
    directory: Arc<Directory>,
    factories: Arc<Factories>,
    worker: Weak<Worker>,
    mailbox: Arc<Mailbox>,
    clusters: RefCell<FxHashMap<Arc<str>, Rc<WorkerCluster>>>,
    /// How many those are.
    inflated: Gauge,
    /// Who waits for another version, by the name of the cluster.
    waiting: RefCell<HashMap<String, Vec<oneshot::Sender<()>>>>,
}

impl WorkerView {
    /// The view of a worker. To be called on its thread, within its runtime: a task there keeps the view up to date even
    /// while nobody asks.
    pub(crate) fn new(directory: Arc<Directory>, factories: Arc<Factories>, worker: &Rc<Worker>) -> Rc<Self> {
        let mailbox = directory.subscribe();
        let thread = match worker.index() {
            index if index < worker.server().options.concurrency => format!("worker_{index}"),
            _ => "main_thread".to_owned(),
        };
        let scope = format!("thread_local_cluster_manager.{thread}");
        let inflated = worker.server().stats.scope(&scope).gauge("clusters_inflated");
        let view = Rc::new(Self {
            directory,
            factories,
            worker: Rc::downgrade(worker),
            mailbox: Arc::clone(&mailbox),
            clusters: RefCell::default(),
            inflated,
            waiting: RefCell::default(),
        });
        let weak = Rc::downgrade(&view);
        tokio::task::spawn_local(async move {
            loop {
                mailbox.arrived().await;
                let Some(view) = weak.upgrade() else { return };
                view.refresh();
            }
        });
        view
    }

    /// Takes over what changed.
    fn refresh(&self) {
        for (name, change) in self.mailbox.take() {
            match change {
                Change::Hosts => {
                    let cluster = self.clusters.borrow().get(&name).cloned();
                    if let Some(cluster) = cluster {
                        cluster.follow_hosts();
                    }
                }
                Change::Version => self.replace(&name),
            }
        }
    }

    fn keep(&self, name: Arc<str>, cluster: Rc<WorkerCluster>) {
        self.inflated.inc();
        self.clusters.borrow_mut().insert(name, cluster);
    }

    fn replace(&self, name: &Arc<str>) {
        let old = self.clusters.borrow_mut().remove(name);
        if let Some(old) = old {
            self.inflated.dec();
            let new = self.directory.get(name).map(|shared| {
                Rc::new(WorkerCluster::new(shared, &self.worker, &self.factories, Some(&*old)))
            });
            old.retire(new.as_deref());
            if let Some(new) = new {
                self.keep(Arc::clone(name), new);
            }
        }
        for waiting in self.waiting.borrow_mut().remove(&**name).into_iter().flatten() {
            // Who gave up waiting need not be told.
            let _ = waiting.send(());
        }
    }
}

impl ClusterManager for WorkerView {
    fn cluster(&self, name: &str) -> Option<Rc<dyn Cluster>> {
        if self.mailbox.is_filled() {
            self.refresh();
        }
        if let Some(cluster) = self.clusters.borrow().get(name) {
            return Some(Rc::clone(cluster) as _);
        }
        let shared = self.directory.get(name)?;
        let cluster = Rc::new(WorkerCluster::new(Arc::clone(&shared), &self.worker, &self.factories, None));
        self.keep(Arc::clone(&shared.info.name), Rc::clone(&cluster));
        Some(cluster)
    }

    fn changed<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        let those = waiting.entry(name.to_owned()).or_default();
        those.retain(|waiting| !waiting.is_closed());
        those.push(tell);
        Box::pin(async move {
            // An error means that the worker ends, and then nothing changes any more.
            let _ = told.await;
        })
    }
}
