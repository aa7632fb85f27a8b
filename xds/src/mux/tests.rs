//! The protocol as a control plane sees it.

mod delta;
mod errors;
mod model;
mod state;
mod time_to_live;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::{
    proto::{Any, DeltaDiscoveryRequest, DiscoveryRequest, Resource as Wrapped},
    resource_type::type_url,
};

pub(super) const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(super) const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(super) const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(super) const ROUTES: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";

fn mux(protocol: Protocol) -> Mux {
    Mux::new(protocol, Node { id: "me".to_owned(), ..Node::default() }, false)
}

fn names(names: &[&str]) -> Interest {
    Interest::Names(names.iter().map(|name| Arc::from(*name)).collect::<BTreeSet<_>>())
}

/// A message whose first field is its name, and perhaps one more field, by number, with a text in it.
pub(super) fn named(type_url: &str, name: &str) -> Any {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Any { type_url: type_url.to_owned(), value: Named { name: name.to_owned() }.encode_to_vec().into() }
}

pub(super) fn state(type_url: &str, version: &str, resources: Vec<Any>) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: version.to_owned(),
        resources,
        type_url: type_url.to_owned(),
        nonce: format!("nonce of {version}"),
        control_plane: None,
    }
}

pub(super) fn delta(
    type_url: &str,
    version: &str,
    changed: &[&str],
    removed: &[&str],
) -> DeltaDiscoveryResponse {
    let wrap = |name: &&str| Wrapped {
        name: (*name).to_owned(),
        version: version.to_owned(),
        resource: Some(named(type_url, name)),
        ..Default::default()
    };
    DeltaDiscoveryResponse {
        system_version_info: version.to_owned(),
        resources: changed.iter().map(wrap).collect(),
        type_url: type_url.to_owned(),
        nonce: format!("nonce of {version}"),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        control_plane: None,
    }
}

/// Hands a response over and settles it; what the watches were told, in short.
pub(super) fn receive(mux: &mut Mux, response: &impl Message, errors: &[&str]) -> Vec<String> {
    let response = mux.received(response.encode_to_vec().into(), Instant::now()).unwrap();
    let told = response.deliveries.iter().map(|(watch, update)| tell(*watch, update));
    let rejected =
        response.rejection.iter().map(|(reason, watches)| format!("{watches:?} rejected: {reason}"));
    let told = told.chain(rejected).collect();
    mux.settle(response, &errors.iter().map(|error| (*error).to_owned()).collect::<Vec<_>>());
    told
}

pub(super) fn tell(watch: WatchId, update: &Update) -> String {
    let list = |resources: &[Resource]| {
        resources.iter().map(|it| format!("{}@{}", it.name, it.version)).collect::<Vec<_>>().join(" ")
    };
    match update {
        Update::State { resources, version } => format!("{}: all at {version}: {}", watch.0, list(resources)),
        Update::Delta { changed, removed, version } => {
            format!("{}: changed at {version}: {}; gone: {}", watch.0, list(changed), removed.join(" "))
        }
    }
}

/// All state-of-the-world requests that leave now, in short.
pub(super) fn requests(mux: &mut Mux) -> Vec<String> {
    std::iter::from_fn(|| mux.next_request())
        .map(|bytes| {
            let request = DiscoveryRequest::decode(bytes).unwrap();
            let short = request.type_url.rsplit_once('.').unwrap().1;
            let error = request.error_detail.map(|error| format!(" NACK {}: {}", error.code, error.message));
            let node = request.node.map_or("", |_| " node");
            format!(
                "{short}{:?} version {:?} nonce {:?}{node}{}",
                request.resource_names,
                request.version_info,
                request.response_nonce,
                error.unwrap_or_default()
            )
        })
        .collect()
}

/// All delta requests that leave now, in short.
pub(super) fn delta_requests(mux: &mut Mux) -> Vec<String> {
    std::iter::from_fn(|| mux.next_request())
        .map(|bytes| {
            let mut request = DeltaDiscoveryRequest::decode(bytes).unwrap();
            let short = request.type_url.rsplit_once('.').unwrap().1.to_owned();
            let error = request.error_detail.map(|error| format!(" NACK {}: {}", error.code, error.message));
            let mut versions: Vec<_> = request.initial_resource_versions.drain().collect();
            versions.sort();
            format!(
                "{short} +{:?} -{:?} has {versions:?} nonce {:?}{}",
                request.resource_names_subscribe,
                request.resource_names_unsubscribe,
                request.response_nonce,
                error.unwrap_or_default()
            )
        })
        .collect()
}

#[test]
fn the_types_have_the_urls_of_envoys_api() {
    assert_eq!(type_url("envoy.config.cluster.v3.Cluster"), CLUSTER);
}

#[test]
fn nothing_leaves_while_there_is_no_stream() {
    let mut mux = mux(Protocol::StateOfTheWorld);
    mux.watch(CLUSTER, Interest::All);
    assert_eq!((mux.next_request(), mux.pending()), (None, 0));
    mux.stream_opened();
    assert_eq!(mux.pending(), 1);
    mux.stream_closed();
    assert_eq!(mux.next_request(), None);
}

#[test]
fn what_is_no_response_ends_the_stream() {
    for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
        let mut mux = mux(protocol);
        mux.watch(CLUSTER, Interest::All);
        mux.stream_opened();
        let error = mux.received(Bytes::from_static(b"\x0a\xff\xff\xff"), Instant::now()).unwrap_err();
        assert!(error.to_string().starts_with("the message is no discovery response"), "{error}");
    }
}
