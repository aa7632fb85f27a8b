//! `/stats`, `/stats/prometheus` and `/reset_counters`.

use std::sync::Arc;

use underpass_core::{
    admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse},
    stats::{Store, render},
};

use super::{AdminRegistry, AdminSources};

const PARAMETERS: &[(&str, &str)] = &[
    ("usedonly", "only stats that were written since the start"),
    ("filter", "only stats whose name matches the regular expression"),
    ("invert_filter", "only stats whose name does not match the filter"),
    ("format", "one of text, json, prometheus"),
    ("type", "one of All, Counters, Gauges, Histograms, TextReadouts"),
    ("histogram_buckets", "one of cumulative, disjoint, detailed, summary"),
];

pub(super) fn add(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    let it = Arc::clone(sources);
    let show = move |request: &AdminRequest| answer(&it, request, None);
    let endpoint = AdminEndpoint::show("/stats", "print server stats", show);
    registry.add_endpoint(endpoint.with_parameters(PARAMETERS));

    let it = Arc::clone(sources);
    let show = move |request: &AdminRequest| answer(&it, request, Some("prometheus"));
    let endpoint = AdminEndpoint::show("/stats/prometheus", "print server stats in prometheus format", show);
    registry.add_endpoint(endpoint.with_parameters(PARAMETERS));

    let store = sources.stats.clone();
    let reset = move |_: &_| {
        store.reset_counters();
        AdminResponse::text("OK\n")
    };
    registry.add_endpoint(AdminEndpoint::change("/reset_counters", "reset all counters to zero", reset));
}

fn answer(sources: &AdminSources, request: &AdminRequest, format: Option<&str>) -> AdminResponse {
    sources.server_stats.update(&sources.lifecycle, &sources.listeners);
    sources.runtime_stats.update(&sources.server.runtime.snapshot());
    show(&sources.stats, request, format)
}

/// Histograms show what was recorded up to the last `stats_flush_interval`, as in Envoy.
fn show(store: &Store, request: &AdminRequest, format: Option<&str>) -> AdminResponse {
    let fixed = format.map(|format| ("format", format));
    let asked = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let asked = asked.filter(|(name, _)| fixed.is_none() || *name != "format");
    let rendered = render::Query::parse(asked.chain(fixed)).and_then(|query| {
        let body = render::render(&store.snapshot(), &query)?;
        Ok(AdminResponse { content_type: query.format.content_type(), ..AdminResponse::text(body) })
    });
    rendered.unwrap_or_else(|error| AdminResponse::error(400, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &[(&str, &str)], format: Option<&str>) -> AdminResponse {
        let store = Store::new(1);
        let counter = store.scope("cluster.up").counter("upstream_cx_total");
        counter.add(3);
        let query = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        show(&store, &AdminRequest { query, ..AdminRequest::default() }, format)
    }

    #[test]
    fn stats_come_as_text_json_and_for_prometheus() {
        assert_eq!(ask(&[], None).body, "cluster.up.upstream_cx_total: 3\n");
        assert_eq!(ask(&[("format", "json")], None).content_type, "application/json");
        let prometheus = ask(&[("format", "json")], Some("prometheus"));
        assert!(prometheus.body.contains(r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="up"} 3"#));
    }

    #[test]
    fn a_wrong_parameter_is_a_bad_request() {
        assert_eq!(ask(&[("filter", "(")], None).status, 400);
    }
}
