//! Lists of one: where a message of Envoy's has a list, Envoy's JSON reader takes a value that stands alone for the only
//! element. Configurations are written like that, `domains: "*"` or `filter_chains: {filters: …}`.

use std::sync::Arc;

use super::{Kind, Message, Type, message};
use crate::config::{Entry, Node, NodeValue, typed::type_name};

/// The tree with a list around each value that stands alone where the message `message_name` has a list; in typed configs,
/// too. What Envoy does not know stays as it is.
pub fn complete_lists(message_name: &str, node: &Arc<Node>) -> Arc<Node> {
    match message_name {
        "google.protobuf.Any" => typed_config(node),
        // The other well-known types have a JSON form of their own.
        well_known if well_known.starts_with("google.protobuf.") => Arc::clone(node),
        name => message(name).map_or_else(|| Arc::clone(node), |message| fields(message, node)),
    }
}

fn fields(message: Message, node: &Arc<Node>) -> Arc<Node> {
    each_entry(node, |entry| match message.field(&entry.key) {
        Some(field) => of_kind(field.kind, &entry.value),
        None => Arc::clone(&entry.value),
    })
}

fn of_kind(kind: Kind, node: &Arc<Node>) -> Arc<Node> {
    match (kind, &node.value) {
        (_, NodeValue::Null) => Arc::clone(node),
        (Kind::Single(single), _) => value(single, node),
        (Kind::Map(_, of_entries), _) => each_entry(node, |entry| value(of_entries, &entry.value)),
        (Kind::Repeated(element), NodeValue::List(elements)) => {
            with_list(node, elements.iter().map(|node| value(element, node)).collect())
        }
        (Kind::Repeated(element), _) => with_list(node, vec![value(element, node)]),
    }
}

fn value(value_type: Type, node: &Arc<Node>) -> Arc<Node> {
    match value_type {
        Type::Message(name) => complete_lists(name, node),
        Type::Scalar(_) | Type::Enum(_) => Arc::clone(node),
    }
}

/// A typed config: whatever message it says it is.
fn typed_config(node: &Arc<Node>) -> Arc<Node> {
    let named = |key: &str| node.get(key).and_then(|url| url.as_text()).map(type_name);
    match named("@type") {
        Some("xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct") => {
            let Some(name) = named("type_url").or_else(|| named("typeUrl")) else { return Arc::clone(node) };
            each_entry(node, |entry| match &*entry.key {
                "value" => complete_lists(name, &entry.value),
                _ => Arc::clone(&entry.value),
            })
        }
        Some("google.protobuf.Any") | None => Arc::clone(node),
        Some(name) => complete_lists(name, node),
    }
}

fn with_list(node: &Node, elements: Vec<Arc<Node>>) -> Arc<Node> {
    Arc::new(Node { file: Arc::clone(&node.file), mark: node.mark, value: NodeValue::List(elements) })
}

/// The node with other values in its entries; anything but a map stays as it is.
fn each_entry(node: &Arc<Node>, complete: impl Fn(&Entry) -> Arc<Node>) -> Arc<Node> {
    let NodeValue::Map(entries) = &node.value else { return Arc::clone(node) };
    let entries = entries.iter().map(|entry| Entry { value: complete(entry), ..entry.clone() }).collect();
    Arc::new(Node { value: NodeValue::Map(entries), ..Node::clone(node) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_yaml;

    /// What a bootstrap becomes, as JSON.
    fn completed(yaml: &str) -> String {
        let node = parse_yaml("f.yaml", yaml).unwrap().root;
        complete_lists("envoy.config.bootstrap.v3.Bootstrap", &node).to_json().to_string()
    }

    #[test]
    fn values_that_stand_alone_become_lists_where_the_message_has_one() {
        insta::assert_snapshot!(
            completed("static_resources: {listeners: {name: a, filterChains: {filter_chain_match: {server_names: x}}}}"),
            @r#"{"static_resources":{"listeners":[{"filterChains":[{"filter_chain_match":{"server_names":["x"]}}],"name":"a"}]}}"#
        );
    }

    #[test]
    fn typed_configs_and_typed_structs_are_completed_too() {
        let tcp_proxy = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
        let proxy = completed(&format!(
            "static_resources: {{listeners: {{filter_chains: {{filters: {{typed_config: {{'@type': x/{tcp_proxy}, hash_policy: {{source_ip: {{}}}}}}}}}}}}}}"
        ));
        assert!(proxy.contains(r#""hash_policy":[{"source_ip":{}}]"#), "{proxy}");
        let wrapped = completed(&format!(
            "bootstrap_extensions: {{typed_config: {{'@type': x/xds.type.v3.TypedStruct, type_url: x/{tcp_proxy}, value: {{hash_policy: {{source_ip: {{}}}}}}}}}}"
        ));
        assert!(wrapped.contains(r#""hash_policy":[{"source_ip":{}}]"#), "{wrapped}");
    }

    #[test]
    fn what_is_a_list_or_nothing_or_no_message_of_envoys_stays_as_it_is() {
        for yaml in [
            r#"{"static_resources":{"clusters":[{"name":"a"}],"listeners":null}}"#,
            r#"{"no_such_field":{"x":1},"node":{"metadata":{"listeners":{"name":"a"}}}}"#,
            r#"{"bootstrap_extensions":[{"typed_config":{"@type":"x/third.party.Type","list":1}}]}"#,
        ] {
            assert_eq!(completed(yaml), yaml);
        }
    }

    #[test]
    fn list_of_one_stands_where_its_element_stands() {
        let node = parse_yaml("f.yaml", "static_resources:\n  clusters: {name: a}\n").unwrap().root;
        let node = complete_lists("envoy.config.bootstrap.v3.Bootstrap", &node);
        let clusters = node.get("static_resources").unwrap().get("clusters").unwrap();
        assert_eq!(clusters.location().to_string(), "f.yaml:2:13");
        assert_eq!(clusters.elements()[0].location().to_string(), "f.yaml:2:13");
    }
}
