//! Files as sources of configuration: `path_config_source`.
//!
//! A file holds one `envoy.service.discovery.v3.DiscoveryResponse` as YAML or JSON, which tells the whole state of its type of
//! resource. It is read anew when it is replaced by a rename, as Envoy demands, and also when it is edited in place or when a
//! symbolic link on the way to it changes, as in a directory that Kubernetes mounts.

mod directory_watcher;
mod discovery_response;
mod path;
mod watched_places;

pub(crate) use self::discovery_response::BadResponse;
