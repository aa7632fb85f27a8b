//! What hash-based load balancing goes by.

use xxhash_rust::xxh64::xxh64;

use super::*;

/// The hash of a request, and the cookies that were made for it.
fn hash(policies: &str, path: &str, headers: &[(&str, &str)]) -> (Option<u64>, Vec<String>) {
    let routes =
        Routes::of(&format!("[{{match: {{prefix: /}}, route: {{cluster: c, hash_policy: {policies}}}}}]"));
    let head = request("GET", path, headers);
    let route = routes.find(&head).unwrap();
    let policy = route.forward().unwrap().hash_policy.clone().unwrap();
    let mut cookies = Vec::new();
    let cookie = |cookie: http::HeaderValue| cookies.push(cookie.to_str().unwrap().to_owned());
    (policy.hash(&head, &routes.info, &routes.info, cookie), cookies)
}

fn of(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

#[test]
fn each_policy_has_its_source() {
    let header = "[{header: {header_name: X-K}}]";
    assert_eq!(hash(header, "/", &[("x-k", "v")]).0, Some(of("v")));
    assert_eq!(hash(header, "/", &[]).0, None);
    assert_eq!(hash("[{header: {header_name: ':path'}}]", "/p", &[]).0, Some(of("/p")));
    assert_eq!(hash("[{header: {header_name: host}}]", "/", &[]).0, Some(of("example.com")));
    assert_eq!(
        hash(header, "/", &[("x-k", "a"), ("x-k", "b")]),
        hash(header, "/", &[("x-k", "b"), ("x-k", "a")])
    );
    let rewritten =
        r"[{header: {header_name: x-k, regex_rewrite: {pattern: {regex: '(.).*'}, substitution: '\1'}}}]";
    assert_eq!(hash(rewritten, "/", &[("x-k", "vwx")]).0, Some(of("v")));
    assert_eq!(hash("[{query_parameter: {name: q}}]", "/?p=1&q=2", &[]).0, Some(of("2")));
    assert_eq!(hash("[{query_parameter: {name: q}}]", "/?p=1", &[]).0, None);
    assert_eq!(hash("[{connection_properties: {source_ip: true}}]", "/", &[]).0, Some(of("10.0.0.1")));
    assert_eq!(hash("[{filter_state: {key: k}}]", "/", &[]).0, None);
    assert_eq!(hash("[{cookie: {name: k}}]", "/", &[("cookie", "j=1; k=\"2\"")]).0, Some(of("2")));
    assert_eq!(hash("[{cookie: {name: k}}]", "/", &[]), (None, vec![]));
}

#[test]
fn a_cookie_is_made_where_the_policy_says_for_how_long() {
    let policy = "[{cookie: {name: k, ttl: 10s, path: /p, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}]";
    let (made, cookies) = hash(policy, "/", &[("cookie", "k=")]);
    let value = format!("{:016x}", xxh64(b"10.0.0.1:123410.0.0.2:80", 0));
    assert_eq!(cookies, [format!("k=\"{value}\"; Max-Age=10; Path=/p; SameSite=Lax; Secure; HttpOnly")]);
    assert_eq!(made, Some(of(&value)));
    assert_eq!(
        hash(policy, "/", &[("cookie", &format!("k={value}"))]),
        (made, vec![]),
        "the next request has it"
    );
    let session = hash("[{cookie: {name: k, ttl: 0s}}]", "/", &[]).1;
    assert_eq!(session, [format!("k=\"{value}\"; HttpOnly")]);
}

#[test]
fn policies_add_up_until_a_terminal_one_has_a_hash() {
    let policies = |terminal: bool| {
        format!("[{{header: {{header_name: a}}, terminal: {terminal}}}, {{header: {{header_name: b}}}}]")
    };
    let (a, b) = (of("1"), of("2"));
    assert_eq!(hash(&policies(false), "/", &[("a", "1"), ("b", "2")]).0, Some(a.rotate_left(1) ^ b));
    assert_eq!(hash(&policies(true), "/", &[("a", "1"), ("b", "2")]).0, Some(a));
    assert_eq!(hash(&policies(true), "/", &[("b", "2")]).0, Some(b));
}
