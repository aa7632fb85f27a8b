//! What control planes are told of who asks.

use std::{collections::BTreeMap, sync::Arc};

use underpass_core::server::ServerContext;

use crate::proto::{
    BuildVersion, Extension, Locality, Node, SemanticVersion, Struct, Value, user_agent, value,
};

/// The node of the process.
pub(crate) fn node(server: &Arc<ServerContext>) -> Node {
    let who = &server.node;
    let locality =
        Locality { region: who.region.clone(), zone: who.zone.clone(), sub_zone: who.sub_zone.clone() };
    Node {
        id: who.id.clone(),
        cluster: who.cluster.clone(),
        metadata: (!who.metadata.is_empty()).then(|| Struct::from(&who.metadata)),
        locality: (locality != Locality::default()).then_some(locality),
        user_agent_name: "underpass".to_owned(),
        user_agent_version: Some(user_agent::Version::Build(build_version())),
        extensions: extensions(server),
        client_features: Vec::new(),
    }
}

fn build_version() -> BuildVersion {
    let number = |text: &str| text.parse().unwrap_or(0);
    let build = if cfg!(debug_assertions) { "DEBUG" } else { "RELEASE" };
    let kind = Some(value::Kind::String(build.to_owned()));
    let metadata = Struct { fields: BTreeMap::from([("build.type".to_owned(), Value { kind })]) };
    let version = SemanticVersion {
        major_number: number(env!("CARGO_PKG_VERSION_MAJOR")),
        minor_number: number(env!("CARGO_PKG_VERSION_MINOR")),
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };
    BuildVersion { version: Some(version), metadata: Some(metadata) }
}

fn extensions(server: &Arc<ServerContext>) -> Vec<Extension> {
    let linked = server.extensions.list().into_iter();
    linked
        .map(|linked| Extension {
            name: linked.name.to_owned(),
            category: category(linked.name, linked.category),
            // Envoy calls message names so here, without what stands before the `/`.
            type_urls: linked.type_names.iter().map(|name| (*name).to_owned()).collect(),
        })
        .collect()
}

/// Envoy's name of a category, which is what the names of its extensions begin with.
fn category(name: &str, ours: &str) -> String {
    match name.rsplit_once('.') {
        Some((category, _)) if name.starts_with("envoy.") => category.to_owned(),
        _ => ours.to_owned(),
    }
}
