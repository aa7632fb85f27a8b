//! Clusters: groups of upstream hosts, how they are found, how one is picked, and how connections to it are made.
//!
//! The main thread builds a [`SharedCluster`](shared::SharedCluster) from the configuration and publishes it in the
//! [`Directory`](directory::Directory); discovery changes its hosts while it lives. Each worker has a
//! [`WorkerView`](worker_view::WorkerView) of the directory, whose clusters pick hosts and open connections.

pub(crate) mod build;
mod connect;
pub(crate) mod directory;
pub(crate) mod discovery;
pub(crate) mod dns;
mod endpoint;
mod host_pool;
mod host_set;
mod lease;
mod load_balancer;
mod membership;
pub(crate) mod shared;
mod stats;
pub(crate) mod status;
mod worker_cluster;
pub(crate) mod worker_view;
