//! The fields of a cluster that HTTP options stood in before `typed_extension_protocol_options`.
//!
//! Envoy still reads them, unless the cluster has the new ones as well, and so do we: before a tree is read, they are moved
//! to the place that they have now. Nodes keep their marks, so that what is wrong in them is reported at their line.

use std::sync::Arc;

use underpass_core::config::{Entry, Mark, Node, NodeValue, known::json_name};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const TYPED: &str = "typed_extension_protocol_options";
const HTTP1: &str = "http_protocol_options";
const HTTP2: &str = "http2_protocol_options";
const COMMON: &str = "common_http_protocol_options";
const UPSTREAM: &str = "upstream_http_protocol_options";
const SELECTION: &str = "protocol_selection";

/// The bootstrap with all its clusters up to date.
pub(crate) fn upgrade_bootstrap(root: &Arc<Node>) -> Arc<Node> {
    with_field(root, "static_resources", |resources| {
        with_field(resources, "clusters", |clusters| {
            let NodeValue::List(elements) = &clusters.value else { return Arc::clone(clusters) };
            same_place(clusters, NodeValue::List(elements.iter().map(upgrade_cluster).collect()))
        })
    })
}

/// An `envoy.config.cluster.v3.Cluster` without the old fields.
pub(crate) fn upgrade_cluster(cluster: &Arc<Node>) -> Arc<Node> {
    let old = [HTTP1, HTTP2, COMMON, UPSTREAM, SELECTION];
    let is_old = |entry: &Entry| old.iter().any(|name| is_called(entry, name));
    if !cluster.entries().iter().any(is_old) {
        return Arc::clone(cluster);
    }
    let mut entries: Vec<Entry> = cluster.entries().iter().filter(|entry| !is_old(entry)).cloned().collect();
    let typed = entries.iter().position(|entry| is_called(entry, TYPED));
    let present = typed.map_or(&[][..], |at| entries[at].value.entries());
    if present.iter().all(|entry| &*entry.key != HTTP_OPTIONS) {
        let mut options = present.to_vec();
        options.push(entry(HTTP_OPTIONS, http_options(cluster)));
        let node = same_place(cluster, NodeValue::Map(options));
        match typed {
            Some(at) => entries[at].value = node,
            None => entries.push(entry(TYPED, node)),
        }
    }
    same_place(cluster, NodeValue::Map(entries))
}

/// `{"@type": …HttpProtocolOptions, explicit_http_config: {http2_protocol_options: …}, …}`.
fn http_options(cluster: &Node) -> Arc<Node> {
    let by_downstream = field(cluster, SELECTION)
        .and_then(|node| node.as_text())
        .is_some_and(|it| it == "USE_DOWNSTREAM_PROTOCOL");
    let versions =
        [HTTP1, HTTP2].iter().filter_map(|name| Some(entry(name, Arc::clone(field(cluster, name)?))));
    let mut versions: Vec<Entry> = versions.collect();
    if versions.is_empty() && !by_downstream {
        versions.push(entry(HTTP1, same_place(cluster, NodeValue::Map(Vec::new()))));
    }
    let config = if by_downstream { "use_downstream_protocol_config" } else { "explicit_http_config" };
    let type_url =
        NodeValue::Scalar { text: format!("type.googleapis.com/{HTTP_OPTIONS}").into(), plain: false };
    let mut entries = vec![
        entry("@type", same_place(cluster, type_url)),
        entry(config, same_place(cluster, NodeValue::Map(versions))),
    ];
    entries.extend(
        [COMMON, UPSTREAM].iter().filter_map(|name| Some(entry(name, Arc::clone(field(cluster, name)?)))),
    );
    same_place(cluster, NodeValue::Map(entries))
}

fn with_field(node: &Arc<Node>, name: &str, change: impl Fn(&Arc<Node>) -> Arc<Node>) -> Arc<Node> {
    let changed = |entry: &Entry| Entry {
        value: if is_called(entry, name) { change(&entry.value) } else { Arc::clone(&entry.value) },
        ..entry.clone()
    };
    match &node.value {
        NodeValue::Map(entries) => same_place(node, NodeValue::Map(entries.iter().map(changed).collect())),
        _ => Arc::clone(node),
    }
}

/// A field that is set: `null` is not.
fn field<'n>(node: &'n Node, name: &str) -> Option<&'n Arc<Node>> {
    let entry = node.entries().iter().find(|entry| is_called(entry, name))?;
    (!entry.value.is_null()).then_some(&entry.value)
}

fn is_called(entry: &Entry, name: &str) -> bool {
    *entry.key == *name || *entry.key == *json_name(name)
}

fn same_place(node: &Node, value: NodeValue) -> Arc<Node> {
    Arc::new(Node { file: Arc::clone(&node.file), mark: node.mark, value })
}

fn entry(key: &str, value: Arc<Node>) -> Entry {
    let mark: Mark = value.mark;
    Entry { key: key.into(), mark, value }
}

#[cfg(test)]
mod tests {
    use underpass_core::config::parse_yaml;

    use super::*;

    fn upgraded(cluster: &str) -> String {
        let text = format!("staticResources: {{clusters: [{cluster}]}}");
        let root = upgrade_bootstrap(&parse_yaml("f", &text).unwrap().root);
        root.get("staticResources").unwrap().get("clusters").unwrap().elements()[0].to_json().to_string()
    }

    #[test]
    fn old_fields_move_to_their_new_place() {
        insta::assert_snapshot!(upgraded("{name: a}"), @r#"{"name":"a"}"#);
        insta::assert_snapshot!(upgraded("{http2ProtocolOptions: {allow_connect: true}, name: a, common_http_protocol_options: {idle_timeout: 1s}}"), @r#"{"name":"a","typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","common_http_protocol_options":{"idle_timeout":"1s"},"explicit_http_config":{"http2_protocol_options":{"allow_connect":true}}}}}"#);
        insta::assert_snapshot!(upgraded("{protocol_selection: USE_DOWNSTREAM_PROTOCOL, http2_protocol_options: }"), @r#"{"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","use_downstream_protocol_config":{}}}}"#);
        insta::assert_snapshot!(upgraded("{common_http_protocol_options: {}, typed_extension_protocol_options: {x: {}}}"), @r#"{"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","common_http_protocol_options":{},"explicit_http_config":{"http_protocol_options":{}}},"x":{}}}"#);
    }

    #[test]
    fn new_fields_win() {
        let cluster = format!("{{http2_protocol_options: {{}}, {TYPED}: {{{HTTP_OPTIONS}: {{a: b}}}}}}");
        insta::assert_snapshot!(upgraded(&cluster), @r#"{"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"a":"b"}}}"#);
    }
}
