//! From the text of a `DiscoveryResponse` to resources.

use std::{path::Path, sync::Arc, time::Duration};

use underpass_core::{
    config::{self, ConfigPath, Entry, Node, NodeValue, Report, known},
    config_subscription::{ConfigResource, ConfigUpdate, Gone},
};

const DISCOVERY_RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
const RESOURCE: &str = "envoy.service.discovery.v3.Resource";

/// Why a text is no update.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadResponse {
    /// It cannot be understood.
    #[error("{0}")]
    Unreadable(String),
    /// It has resources that were not asked for.
    #[error("{0}")]
    Unexpected(Report),
}

/// Reads the resources of a type out of a file's text.
pub(super) fn read(file: &Path, text: &[u8], type_name: &str) -> Result<ConfigUpdate, BadResponse> {
    let name = file.display().to_string();
    let unreadable = |message: String| BadResponse::Unreadable(message);
    let text = std::str::from_utf8(text).map_err(|error| {
        let at = error.valid_up_to();
        unreadable(format!("{name}: the file is not UTF-8: byte {at} is the first that is not"))
    })?;
    let document = config::parse_yaml(&name, text).map_err(|report| unreadable(report.to_string()))?;
    if !matches!(document.root.value, NodeValue::Map(_)) {
        return Err(unreadable(format!("{name}: this is no DiscoveryResponse: it has no fields")));
    }
    let root = known::complete_lists(DISCOVERY_RESPONSE, &document.root);
    let mut report = Report::new();
    for entry in root.entries() {
        let field = known::message(DISCOVERY_RESPONSE).and_then(|message| message.field(&entry.key));
        if field.is_none() {
            let message = "unknown field; a DiscoveryResponse has version_info and resources";
            report.error(ConfigPath::root().field(&entry.key), Some(entry.location()), message);
        }
    }
    let version: Arc<str> = field(&root, "version_info").and_then(|node| node.as_text()).unwrap_or("").into();
    let mut resources = Vec::new();
    for (index, node) in field(&root, "resources").map_or(&[][..], |list| list.elements()).iter().enumerate()
    {
        let path = ConfigPath::root().field("resources").index(index);
        resources.extend(resource(node, path, type_name, &version, &mut report));
    }
    if report.has_errors() {
        report.sort();
        return Err(BadResponse::Unexpected(report));
    }
    Ok(ConfigUpdate { version, resources, gone: Gone::Rest })
}

/// One resource: an `Any` of the type, or of a `Resource` around it.
fn resource(
    node: &Arc<Node>,
    path: ConfigPath,
    type_name: &str,
    version: &Arc<str>,
    report: &mut Report,
) -> Option<ConfigResource> {
    let found =
        node.get("@type").and_then(|url| url.as_text()).map(|url| url.rsplit('/').next().unwrap_or(url));
    match found {
        Some(found) if found == type_name => {
            let node = without_type(node);
            let name = resource_name(&node, type_name).into();
            Some(ConfigResource { name, version: Arc::clone(version), node, path, time_to_live: None })
        }
        Some(RESOURCE) => {
            let path = path.field("resource");
            let Some(inner) = node.get("resource") else {
                report.error(path, Some(node.location()), "is required");
                return None;
            };
            let text = |name: &str| {
                field(node, name).and_then(|node| node.as_text()).filter(|text| !text.is_empty())
            };
            let own = text("version").map_or_else(|| Arc::clone(version), Arc::from);
            let mut inner = resource(inner, path, type_name, &own, report)?;
            if let Some(name) = text("name") {
                inner.name = name.into();
            }
            inner.time_to_live = text("ttl").and_then(seconds);
            Some(inner)
        }
        Some(other) => {
            let message = format!("Unable to unpack as {type_name}: this is a {other}");
            report.error(path.field("@type"), Some(node.location()), message);
            None
        }
        None => {
            report.error(path, Some(node.location()), format!("`@type` is missing; expected {type_name}"));
            None
        }
    }
}

/// The name of a resource is in the message itself.
fn resource_name<'n>(node: &'n Node, type_name: &str) -> &'n str {
    let name = if type_name.ends_with(".ClusterLoadAssignment") { "cluster_name" } else { "name" };
    field(node, name).and_then(|node| node.as_text()).unwrap_or_default()
}

fn field<'n>(message: &'n Node, name: &str) -> Option<&'n Arc<Node>> {
    message.get(name).or_else(|| message.get(&known::json_name(name)))
}

fn without_type(node: &Arc<Node>) -> Arc<Node> {
    let entries: Vec<Entry> = node.entries().iter().filter(|entry| &*entry.key != "@type").cloned().collect();
    Arc::new(Node { file: Arc::clone(&node.file), mark: node.mark, value: NodeValue::Map(entries) })
}

/// `1.5s`.
fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

    fn said(text: &str) -> String {
        read(Path::new("c.yaml"), text.as_bytes(), CLUSTER).unwrap_err().to_string()
    }

    #[test]
    fn resources_have_names_and_versions() {
        let text = "version_info: '7'\nresources:\n- {'@type': type.googleapis.com/envoy.config.cluster.v3.Cluster, name: a}\n\
                    - '@type': x/envoy.service.discovery.v3.Resource\n  version: '9'\n  ttl: 1.5s\n  name: b\n  \
                    resource: {'@type': x/envoy.config.cluster.v3.Cluster, name: c}\n";
        let update = read(Path::new("c.yaml"), text.as_bytes(), CLUSTER).unwrap();
        let shown: Vec<_> = update
            .resources
            .iter()
            .map(|it| {
                format!("{} {} {} {:?} {}", it.name, it.version, it.path, it.time_to_live, it.node.to_json())
            })
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        a 7 resources[0] None {"name":"a"}
        b 9 resources[1].resource Some(1.5s) {"name":"c"}
        "#);
        assert_eq!((&*update.version, update.gone), ("7", Gone::Rest));
    }

    #[test]
    fn what_is_no_answer_is_refused_with_its_line() {
        insta::assert_snapshot!(said("{a: ["), @"c.yaml:2:1: error: this is no valid YAML: while parsing a node, did not find expected node content");
        insta::assert_snapshot!(said(""), @"c.yaml: this is no DiscoveryResponse: it has no fields");
        let wrong = "resource: []\nresources:\n- {name: a}\n- {'@type': x/envoy.config.listener.v3.Listener}";
        insta::assert_snapshot!(said(wrong), @"
        c.yaml:1:1: error: resource: unknown field; a DiscoveryResponse has version_info and resources
        c.yaml:3:3: error: resources[0]: `@type` is missing; expected envoy.config.cluster.v3.Cluster
        c.yaml:4:3: error: resources[1].@type: Unable to unpack as envoy.config.cluster.v3.Cluster: this is a envoy.config.listener.v3.Listener
        ");
    }
}
