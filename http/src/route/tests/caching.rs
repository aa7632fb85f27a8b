//! A stream keeps its route until somebody asks it to look again.

use super::*;
use crate::testing::stream;

#[test]
fn a_route_is_found_once_and_noted() {
    let routes = Routes::new(
        "virtual_hosts: [{name: v, domains: ['*'], metadata: {filter_metadata: {v: {k: 1}}}, routes: [
          {match: {prefix: /, headers: [{name: x, exact_match: '1'}]}, name: first, metadata: {filter_metadata: {r: {k: 1}}}, route: {cluster: c}},
          {match: {prefix: /}, route: {cluster: c}}]}]",
    );
    let stream = stream(&routes.server, request("GET", "/", &[("x", "1")]));
    assert!(stream.route().is_none(), "without routes there is none");
    stream.set_routes(Arc::clone(&routes.table));
    let noted = || {
        let name = stream.info.details.route_name.borrow().clone();
        (name.as_deref().map(str::to_owned), stream.info.details.route_metadata.borrow().is_some())
    };
    assert_eq!(noted(), (None, false), "nobody has asked");
    let first = stream.route().unwrap();
    assert_eq!(noted(), (Some("first".to_owned()), true));
    assert!(stream.info.details.virtual_host_metadata.borrow().is_some());
    stream.request_mut().headers.clear();
    assert!(Arc::ptr_eq(&stream.route().unwrap(), &first));
    stream.clear_route_cache();
    assert!(stream.route().unwrap().name.is_empty());
    assert_eq!(noted(), (None, false));
}
