//! Answers that routes give themselves.

use super::*;

#[test]
fn redirects_change_what_they_name() {
    let routes = Routes::of(
        r"[
        {match: {prefix: /https}, redirect: {https_redirect: true}},
        {match: {prefix: /scheme}, redirect: {scheme_redirect: foo}},
        {match: {prefix: /http}, redirect: {scheme_redirect: http}},
        {match: {prefix: /hostport}, redirect: {host_redirect: 'new:5', port_redirect: 8080}},
        {match: {prefix: /host}, redirect: {host_redirect: new}},
        {match: {prefix: /port}, redirect: {port_redirect: 443, https_redirect: true}},
        {match: {prefix: /pathq}, redirect: {path_redirect: '/new?x=1'}},
        {match: {prefix: /path}, redirect: {path_redirect: /new}},
        {match: {prefix: /format}, redirect: {path_rewrite: '/x%REQ(:path)%'}},
        {match: {prefix: /strip-path}, redirect: {path_redirect: '/new?y=1', strip_query: true}},
        {match: {prefix: /strip}, redirect: {strip_query: true}},
        {match: {prefix: /prefix}, redirect: {prefix_rewrite: /np}},
        {match: {path: /exact}, redirect: {prefix_rewrite: /np}},
        {match: {prefix: /rr}, redirect: {regex_rewrite: {pattern: {regex: '^/rr/([a-z]+)'}, substitution: '/x/\1'}, response_code: SEE_OTHER}},
        {match: {prefix: /}, redirect: {response_code: PERMANENT_REDIRECT}}]",
    );
    for (host, path, expected) in [
        ("a", "/https?y", "301 https://a/https?y"),
        ("a:80", "/https", "301 https://a/https"),
        ("a:443", "/https", "301 https://a:443/https"),
        ("[::1]:80", "/https", "301 https://[::1]/https"),
        ("[::1]", "/https", "301 https://[::1]/https"),
        ("a:b:80", "/https", "301 https://a:b/https"),
        ("a:80", "/scheme", "301 foo://a/scheme"),
        ("a:80", "/http", "301 http://a:80/http"),
        ("a:80", "/host?a=1", "301 http://new/host?a=1"),
        ("a:80", "/hostport", "301 http://new:5:8080/hostport"),
        ("a:80", "/port", "301 https://a:443/port"),
        ("a:80", "/pathq?z=1", "301 http://a:80/new?x=1"),
        ("a:80", "/path/x?z=1", "301 http://a:80/new?z=1"),
        ("a", "/format?q", "301 http://a/x/format?q"),
        ("a", "/strip-path?z=1", "301 http://a/new?y=1"),
        ("a", "/strip?z", "301 http://a/strip"),
        ("a", "/prefix/x?z=1", "301 http://a/np/x?z=1"),
        ("a", "/exact?z=1", "301 http://a/np?z=1"),
        ("a", "/rr/abc/x?z=1", "303 http://a/x/abc/x?z=1"),
        ("a", "/other?x", "308 http://a/other?x"),
    ] {
        assert_eq!(routes.answer(path, &[(":authority", host)]), expected, "{host} {path}");
    }
}

#[test]
fn a_direct_response_has_a_body_and_perhaps_a_location() {
    let routes = Routes::of(
        "[
        {match: {path: /a}, direct_response: {status: 200, body: {inline_string: hello}}},
        {match: {path: /b}, direct_response: {status: 201, body: {inline_bytes: aGk=}}},
        {match: {path: /f}, direct_response: {status: 302, body: {inline_string: hello}, body_format: {text_format_source: {inline_string: '%LOCAL_REPLY_BODY% %REQ(:path)%'}, content_type: text/html}}},
        {match: {path: /j}, direct_response: {status: 200, body_format: {json_format: {a: '%REQ(:path)%'}}}}]",
    );
    for (path, answer, body, content_type) in [
        ("/a", "200 ", "hello", None),
        ("/b", "201 http://example.com/b", "hi", None),
        ("/f", "302 http://example.com/f", "hello /f", Some("text/html")),
        ("/j", "200 ", "{\"a\":\"/j\"}\n", Some("application/json")),
    ] {
        assert_eq!(routes.answer(path, &[]), answer, "{path}");
        let head = request("GET", path, &[]);
        let route = routes.find(&head).unwrap();
        let Action::DirectResponse(response) = &route.action else { panic!("{path} has another action") };
        assert_eq!(response.body(&head, &routes.info), body, "{path}");
        assert_eq!(response.content_type(), content_type, "{path}");
    }
}

#[test]
fn what_a_filter_should_answer_has_no_cluster() {
    let routes = Routes::of("[{match: {prefix: /}, non_forwarding_action: {}}]");
    let head = request("GET", "/", &[]);
    let route = routes.find(&head).unwrap();
    let forward = route.forward().unwrap();
    assert_eq!((forward.cluster(&head), forward.cluster_not_found.as_u16()), (None, 503));
}
