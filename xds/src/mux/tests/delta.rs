//! Delta.

use super::*;

fn opened() -> Mux {
    let mut mux = mux(Protocol::Delta);
    mux.stream_opened();
    mux
}

#[test]
fn everything_is_asked_for_by_naming_nothing() {
    let mut mux = opened();
    mux.watch(CLUSTER, Interest::All);
    assert_eq!(delta_requests(&mut mux), [r#"Cluster +[] -[] has [] nonce """#]);
    let told = receive(&mut mux, &delta(CLUSTER, "1", &["a", "b"], &[]), &[]);
    assert_eq!(told, ["1: changed at 1: a@1 b@1; gone: "]);
    let told = receive(&mut mux, &delta(CLUSTER, "2", &["c"], &["a"]), &[]);
    assert_eq!(told, ["1: changed at 2: c@2; gone: a"]);
    let acks =
        [r#"Cluster +[] -[] has [] nonce "nonce of 1""#, r#"Cluster +[] -[] has [] nonce "nonce of 2""#];
    assert_eq!(delta_requests(&mut mux), acks, "each response is answered");
}

#[test]
fn a_new_stream_says_what_is_here_already() {
    let mut mux = opened();
    mux.watch(CLUSTER, Interest::All);
    delta_requests(&mut mux);
    receive(&mut mux, &delta(CLUSTER, "1", &["a", "b"], &[]), &[]);
    receive(&mut mux, &delta(CLUSTER, "2", &["b"], &["a"]), &[]);
    receive(&mut mux, &delta(CLUSTER, "3", &["c"], &[]), &["c is bad"]);
    mux.stream_closed();
    mux.stream_opened();
    assert_eq!(delta_requests(&mut mux), [r#"Cluster +[] -[] has [("b", "2")] nonce """#]);
}

#[test]
fn names_are_subscribed_to_and_taken_back_one_by_one() {
    let mut mux = opened();
    let first = mux.watch(ENDPOINTS, names(&["a"]));
    mux.watch(ENDPOINTS, names(&["a", "b"]));
    assert_eq!(delta_requests(&mut mux), [r#"ClusterLoadAssignment +["a", "b"] -[] has [] nonce """#]);
    receive(&mut mux, &delta(ENDPOINTS, "1", &["a", "b"], &[]), &[]);
    delta_requests(&mut mux);
    mux.update_watch(first, ENDPOINTS, names(&["c", "d"]));
    assert_eq!(
        delta_requests(&mut mux),
        [r#"ClusterLoadAssignment +["c", "d"] -[] has [] nonce """#],
        "somebody else still wants a"
    );
    mux.update_watch(first, ENDPOINTS, names(&["d", "e"]));
    mux.update_watch(first, ENDPOINTS, names(&["d"]));
    assert_eq!(
        delta_requests(&mut mux),
        [r#"ClusterLoadAssignment +[] -["c"] has [] nonce """#],
        "what came and went between two requests is not spoken of"
    );
    mux.stream_closed();
    mux.stream_opened();
    assert_eq!(
        delta_requests(&mut mux),
        [r#"ClusterLoadAssignment +["a", "b", "d"] -[] has [("a", "1"), ("b", "1")] nonce """#]
    );
}

#[test]
fn a_name_that_comes_back_while_it_is_being_taken_back_stays() {
    let mut mux = opened();
    let watch = mux.watch(ENDPOINTS, names(&["a"]));
    delta_requests(&mut mux);
    mux.unwatch(watch, ENDPOINTS);
    mux.watch(ENDPOINTS, names(&["a"]));
    assert_eq!(delta_requests(&mut mux), [r#"ClusterLoadAssignment +["a"] -[] has [] nonce """#]);
}

#[test]
fn a_name_beside_everything_makes_everything_a_star() {
    let mut mux = opened();
    mux.watch(LISTENER, Interest::All);
    delta_requests(&mut mux);
    mux.watch(LISTENER, names(&["a"]));
    assert_eq!(delta_requests(&mut mux), [r#"Listener +["*", "a"] -[] has [] nonce """#]);
}

#[test]
fn an_alias_without_a_resource_is_passed_over() {
    let mut mux = opened();
    mux.watch(CLUSTER, Interest::All);
    let mut response = delta(CLUSTER, "1", &["a"], &[]);
    response.resources.push(Wrapped {
        name: "alias".to_owned(),
        aliases: vec!["b".to_owned()],
        ..Default::default()
    });
    assert_eq!(receive(&mut mux, &response, &[]), ["1: changed at 1: a@1; gone: "]);
}
