//! Metadata: `%DYNAMIC_METADATA(namespace:key:…)%` and the static metadata of clusters, hosts, listeners,
//! routes and virtual hosts.

use std::{cell::RefCell, sync::Arc};

use crate::config::{Metadata, Struct, Value};
use crate::formatter::{Command, FormatContext, Operator, OperatorEntry, Output};
use crate::metadata::lookup;

pub(super) const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::with_required("DYNAMIC_METADATA", |c| at(Source::Dynamic, c.argument, c)).limited(),
    OperatorEntry::with_required("CLUSTER_METADATA", |c| at(Source::Cluster, c.argument, c)),
    OperatorEntry::with_required("UPSTREAM_METADATA", |c| at(Source::UpstreamHost, c.argument, c)),
    OperatorEntry::with_optional("METADATA", any).limited(),
];

/// Whose metadata.
#[derive(Debug, Clone, Copy)]
enum Source {
    Dynamic,
    Cluster,
    UpstreamHost,
    Listener,
    Route,
    VirtualHost,
}

/// One value of metadata.
struct MetadataOperator {
    source: Source,
    namespace: Box<str>,
    path: Vec<Box<str>>,
    max_length: Option<usize>,
}

/// `%METADATA(CLUSTER:namespace:key)%`.
fn any(command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let (kind, place) = command.argument.split_once(':').unwrap_or((command.argument, ""));
    let source = match kind {
        "DYNAMIC" => Source::Dynamic,
        "CLUSTER" => Source::Cluster,
        "UPSTREAM_HOST" => Source::UpstreamHost,
        "LISTENER" => Source::Listener,
        "ROUTE" => Source::Route,
        "VIRTUAL_HOST" => Source::VirtualHost,
        _ => {
            return Err(format!(
                "{kind} is not supported type of metadata; known: DYNAMIC, CLUSTER, UPSTREAM_HOST, LISTENER, ROUTE, \
                 VIRTUAL_HOST"
            ));
        }
    };
    at(source, place, command)
}

#[expect(clippy::unnecessary_wraps, reason = "the form of all operators with arguments")]
fn at(source: Source, place: &str, command: &Command<'_>) -> Result<Box<dyn Operator>, String> {
    let mut words = place.split(':').map(Box::from);
    let namespace = words.next().unwrap_or_default();
    Ok(Box::new(MetadataOperator {
        source,
        namespace,
        path: words.collect(),
        max_length: command.max_length,
    }))
}

impl Operator for MetadataOperator {
    fn print(&self, cx: &FormatContext<'_>, out: &mut Output<'_>) {
        match self.source {
            Source::Dynamic => self.value(cx.info.dynamic_metadata.borrow().namespace(&self.namespace), out),
            Source::Cluster => {
                let cluster = cx.info.upstream.cluster.borrow();
                self.value(
                    cluster.as_ref().and_then(|cluster| cluster.metadata.namespace(&self.namespace)),
                    out,
                );
            }
            Source::UpstreamHost => {
                let host = cx.info.upstream.host.borrow();
                self.value(host.as_ref().and_then(|host| host.metadata.namespace(&self.namespace)), out);
            }
            Source::Listener => self.value(cx.info.listener.metadata.namespace(&self.namespace), out),
            Source::Route => self.of(&cx.info.details.route_metadata, out),
            Source::VirtualHost => self.of(&cx.info.details.virtual_host_metadata, out),
        }
    }
}

impl MetadataOperator {
    fn of(&self, metadata: &RefCell<Option<Arc<Metadata>>>, out: &mut Output<'_>) {
        self.value(metadata.borrow().as_ref().and_then(|metadata| metadata.namespace(&self.namespace)), out);
    }

    fn value(&self, namespace: Option<&Struct>, out: &mut Output<'_>) {
        let Some(values) = namespace else { return };
        if self.path.is_empty() {
            // Serializing a tree of values does not fail.
            out.json_text(self.max_length, &serde_json::to_string(values).unwrap_or_default());
            return;
        }
        let path: Vec<&str> = self.path.iter().map(AsRef::as_ref).collect();
        if let Some(value) = lookup(values, &path).filter(|value| **value != Value::Null) {
            out.value(self.max_length, value);
        }
    }
}
