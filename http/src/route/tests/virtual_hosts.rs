//! Which virtual host a request belongs to.

use proptest::prelude::*;

use super::*;

const HOSTS: &str = "
virtual_hosts:
- {name: any, domains: ['*'], routes: [{match: {prefix: /}, name: any, non_forwarding_action: {}}]}
- {name: exact, domains: [a.example, 'A.B:8080', c.d], routes: [{match: {prefix: /}, name: exact, non_forwarding_action: {}}]}
- {name: suffix, domains: ['*.example', '*-x.y'], routes: [{match: {prefix: /}, name: suffix, non_forwarding_action: {}}]}
- {name: longer suffix, domains: ['*.b.example'], routes: [{match: {prefix: /}, name: longer suffix, non_forwarding_action: {}}]}
- {name: prefix, domains: ['foo.*', 'c.*'], routes: [{match: {prefix: /}, name: prefix, non_forwarding_action: {}}]}
- {name: longer prefix, domains: ['foo.bar.*'], routes: [{match: {prefix: /nothing}, name: longer prefix, non_forwarding_action: {}}]}
";

fn to(host: &str) -> RequestHead {
    request("GET", "/", &[(":authority", host)])
}

#[test]
fn exact_names_go_before_suffixes_and_these_before_prefixes() {
    let routes = Routes::new(HOSTS);
    for (host, expected) in [
        ("a.example", "exact"),
        ("A.EXAMPLE", "exact"),
        ("a.example:80", "any"),
        ("a.b:8080", "exact"),
        ("a.b", "any"),
        ("x.example", "suffix"),
        (".example", "any"),
        ("x.b.example", "longer suffix"),
        ("1-x.y", "suffix"),
        ("foo.1", "prefix"),
        ("foo.", "any"),
        ("foo.example", "suffix"),
        ("foo.bar.baz", "-"),
        ("c.d", "exact"),
        ("c.d:1", "prefix"),
        ("", "any"),
    ] {
        assert_eq!(routes.name_of(&to(host)), expected, "{host}");
    }
    assert_eq!(routes.table.virtual_host(&to("foo.bar.baz")).unwrap().name.as_ref(), "longer prefix");
}

#[test]
fn a_port_does_not_matter_where_the_configuration_says_so() {
    let routes = Routes::new(
        "
ignore_port_in_host_matching: true
virtual_hosts:
- {name: v, domains: [a.example, 'b.example:80', '[::1]'], routes: [{match: {prefix: /}, name: r, non_forwarding_action: {}}]}",
    );
    for host in
        ["a.example", "a.example:80", "a.example:", "a.example:x", "a.example:99999", "[::1]:80", "[::1]"]
    {
        assert_eq!(routes.name_of(&to(host)), "r", "{host}");
    }
    for host in ["b.example:80", "b.example"] {
        assert_eq!(routes.name_of(&to(host)), "-", "{host}");
    }
}

#[test]
fn another_header_can_say_which_virtual_host_it_is() {
    let routes = Routes::new(&format!("vhost_header: X-Host\n{HOSTS}"));
    let with = |header: &str| request("GET", "/", &[(":authority", "a.example"), ("x-host", header)]);
    assert_eq!(routes.name_of(&with("x.example")), "suffix");
    assert_eq!(routes.name_of(&with("other")), "any");
    assert_eq!(routes.name_of(&to("a.example")), "-", "not even the one for everything");
}

#[test]
fn a_virtual_host_can_demand_tls() {
    let routes = Routes::new(
        "
virtual_hosts:
- {name: all, domains: [all], require_tls: ALL, routes: [{match: {prefix: /}, name: r, non_forwarding_action: {}}]}
- {name: external, domains: [external], require_tls: EXTERNAL_ONLY, routes: [{match: {prefix: /}, name: r, non_forwarding_action: {}}]}",
    );
    let http = ("x-forwarded-proto", "http");
    assert_eq!(routes.answer("/x?y", &[(":authority", "all"), http]), "301 https://all/x?y");
    assert_eq!(routes.answer("/", &[(":authority", "external"), http]), "301 https://external/");
    for headers in [
        [(":authority", "all"), ("x-forwarded-proto", "https")],
        [(":authority", "external"), ("x-forwarded-proto", "https")],
        [(":authority", "external"), ("x-envoy-internal", "true")],
    ] {
        assert_eq!(routes.name_of(&request("GET", "/", &headers)), "r", "{headers:?}");
    }
}

/// What the documentation says, without tables: of all domains that match, the exact one, else the longest suffix, else the
/// longest prefix, else the star.
fn naive<'d>(domains: &'d [String], host: &str) -> Option<&'d String> {
    let host = host.to_ascii_lowercase();
    let matching = |kind: fn(&str, &str) -> bool| {
        let fits = domains
            .iter()
            .filter(|domain| domain.as_str() != "*" && kind(&domain.to_ascii_lowercase(), &host));
        fits.max_by_key(|domain| domain.len())
    };
    matching(|domain, host| domain == host)
        .or_else(|| {
            matching(|domain, host| {
                domain.strip_prefix('*').is_some_and(|end| host.ends_with(end) && host.len() > end.len())
            })
        })
        .or_else(|| {
            matching(|domain, host| {
                !domain.starts_with('*')
                    && domain
                        .strip_suffix('*')
                        .is_some_and(|start| host.starts_with(start) && host.len() > start.len())
            })
        })
        .or_else(|| domains.iter().find(|domain| *domain == "*"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_find_what_a_naive_search_finds(
        domains in proptest::collection::btree_set("\\*|[ab.]{1,4}|\\*[ab.]{1,4}|[ab.]{1,4}\\*", 1..8),
        hosts in proptest::collection::vec("[aAb.]{0,6}", 1..20),
    ) {
        let domains: Vec<String> = domains.into_iter().collect();
        let host = |domain: &String| {
            format!("- {{name: v, domains: ['{domain}'], routes: [{{match: {{prefix: ''}}, name: '{domain}', non_forwarding_action: {{}}}}]}}\n")
        };
        let hosts_yaml: String = domains.iter().map(host).collect();
        let routes = Routes::new(&format!("virtual_hosts:\n{hosts_yaml}"));
        for host in hosts {
            let expected = naive(&domains, &host).map_or("-", String::as_str);
            prop_assert_eq!(routes.name_of(&to(&host)), expected, "host {} among {:?}", host, domains);
        }
    }
}
