//! The threads on which connections live.

use std::{
    io,
    rc::Rc,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{oneshot, watch},
};
use underpass_core::{
    bootstrap_extension::BootstrapExtension, server::ServerContext, stats, timers::Timers, worker::Worker,
};

use crate::{cluster_manager::ClusterManager, listener_manager::ListenerManager};

/// What every worker is made of.
#[derive(Clone)]
pub struct WorkerParts {
    /// What exists once in the process.
    pub server: Arc<ServerContext>,
    /// The clusters.
    pub clusters: Arc<ClusterManager>,
    /// The listeners.
    pub listeners: Arc<ListenerManager>,
    /// The bootstrap extensions.
    pub extensions: Arc<[Arc<dyn BootstrapExtension>]>,
}

/// The workers of the process.
pub struct Workers {
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers; returns when all of them listen.
    pub async fn start(count: usize, parts: &WorkerParts) -> io::Result<Self> {
        let stop = watch::Sender::new(false);
        let mut threads = Vec::with_capacity(count);
        let mut started = Vec::with_capacity(count);
        for index in 0..count {
            let (ready, listening) = oneshot::channel();
            let (parts, stopped) = (parts.clone(), stop.subscribe());
            let name = format!("wrk:worker_{index}");
            threads
                .push(thread::Builder::new().name(name).spawn(move || run(index, &parts, ready, stopped))?);
            started.push(listening);
        }
        for listening in started {
            // A worker that cannot even start drops its end.
            listening.await.map_err(|_| io::Error::other("a worker could not be started"))??;
        }
        Ok(Self { stop, threads })
    }

    /// Ends all connections and waits for the threads. Access logs of the connections are queued when it returns.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!(target: "main", "a worker panicked while it stopped");
            }
        }
    }
}

fn run(
    index: usize,
    parts: &WorkerParts,
    ready: oneshot::Sender<io::Result<()>>,
    mut stopped: watch::Receiver<bool>,
) {
    stats::set_worker(index);
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let worker = Rc::new(Worker::new(index, Arc::clone(&parts.server)));
    runtime.block_on(async {
        worker.set_timers(Timers::start());
        for extension in &*parts.extensions {
            extension.install(&worker);
        }
        worker.set_cluster_manager(parts.clusters.worker_view(&worker));
        let attached = parts.listeners.attach(&worker);
        // Nobody waits any more only if the start was given up.
        let _ = ready.send(attached);
        // An error means that the main thread is gone.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    // Dropping the tasks ends the connections; their guards write the logs.
    runtime.shutdown_timeout(Duration::ZERO);
}
