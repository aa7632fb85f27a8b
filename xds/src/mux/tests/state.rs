//! State of the world.

use super::*;

fn opened(node_on_first_message_only: bool) -> Mux {
    let mut mux = Mux::new(Protocol::StateOfTheWorld, Node::default(), node_on_first_message_only);
    mux.stream_opened();
    mux
}

#[test]
fn every_answer_is_acknowledged_with_its_version_and_nonce() {
    let mut mux = opened(false);
    mux.watch(CLUSTER, Interest::All);
    assert_eq!(requests(&mut mux), [r#"Cluster[] version "" nonce "" node"#]);
    let told = receive(&mut mux, &state(CLUSTER, "1", vec![named(CLUSTER, "a"), named(CLUSTER, "b")]), &[]);
    assert_eq!(told, ["1: all at 1: a@1 b@1"]);
    assert_eq!(requests(&mut mux), [r#"Cluster[] version "1" nonce "nonce of 1" node"#]);
    assert_eq!(requests(&mut mux), [""; 0]);
}

#[test]
fn a_rejected_answer_keeps_the_version_before_and_says_why() {
    let mut mux = opened(false);
    mux.watch(CLUSTER, Interest::All);
    requests(&mut mux);
    receive(&mut mux, &state(CLUSTER, "1", vec![named(CLUSTER, "a")]), &[]);
    requests(&mut mux);
    receive(&mut mux, &state(CLUSTER, "2", vec![named(CLUSTER, "b")]), &["b is bad", "so is c"]);
    let expected = "Cluster[] version \"1\" nonce \"nonce of 2\" node NACK 13: b is bad\nso is c";
    assert_eq!(requests(&mut mux), [expected]);
    receive(&mut mux, &state(CLUSTER, "3", vec![]), &[]);
    assert_eq!(requests(&mut mux), [r#"Cluster[] version "3" nonce "nonce of 3" node"#]);
}

#[test]
fn names_of_all_watches_are_asked_for_together_and_each_hears_of_its_own() {
    let mut mux = opened(false);
    mux.watch(ENDPOINTS, names(&["a", "b"]));
    let second = mux.watch(ENDPOINTS, names(&["b", "c"]));
    assert_eq!(requests(&mut mux), [r#"ClusterLoadAssignment["a", "b", "c"] version "" nonce "" node"#]);
    let told =
        receive(&mut mux, &state(ENDPOINTS, "1", vec![named(ENDPOINTS, "b"), named(ENDPOINTS, "x")]), &[]);
    assert_eq!(told, ["1: all at 1: b@1", "2: all at 1: b@1"]);
    let told = receive(&mut mux, &state(ENDPOINTS, "2", vec![named(ENDPOINTS, "c")]), &[]);
    assert_eq!(told, ["2: all at 2: c@2"], "whose names do not occur hears nothing");
    requests(&mut mux);
    mux.update_watch(second, ENDPOINTS, names(&["d"]));
    assert_eq!(
        requests(&mut mux),
        [r#"ClusterLoadAssignment["a", "b", "d"] version "2" nonce "nonce of 2" node"#]
    );
    mux.unwatch(second, ENDPOINTS);
    assert_eq!(
        requests(&mut mux),
        [r#"ClusterLoadAssignment["a", "b"] version "2" nonce "nonce of 2" node"#]
    );
}

#[test]
fn a_new_stream_tells_versions_but_no_nonces_in_the_order_of_the_types() {
    let mut mux = opened(true);
    for type_url in [ROUTES, LISTENER, ENDPOINTS, CLUSTER] {
        mux.watch(type_url, if type_url == CLUSTER { Interest::All } else { names(&["x"]) });
    }
    assert_eq!(requests(&mut mux).len(), 4);
    receive(&mut mux, &state(CLUSTER, "7", vec![]), &[]);
    requests(&mut mux);
    mux.stream_closed();
    mux.stream_opened();
    assert_eq!(
        requests(&mut mux),
        [
            r#"Cluster[] version "7" nonce "" node"#,
            r#"ClusterLoadAssignment["x"] version "" nonce """#,
            r#"Listener["x"] version "" nonce """#,
            r#"RouteConfiguration["x"] version "" nonce """#,
        ]
    );
}

#[test]
fn what_a_response_makes_necessary_is_asked_for_before_it_is_acknowledged() {
    let mut mux = opened(true);
    mux.watch(CLUSTER, Interest::All);
    requests(&mut mux);
    let response = state(CLUSTER, "1", vec![named(CLUSTER, "a")]).encode_to_vec().into();
    let response = mux.received(response, Instant::now()).unwrap();
    mux.watch(ENDPOINTS, Interest::name("a"));
    mux.settle(response, &[]);
    assert_eq!(
        requests(&mut mux),
        [r#"ClusterLoadAssignment["a"] version "" nonce """#, r#"Cluster[] version "1" nonce "nonce of 1""#]
    );
}

#[test]
fn a_type_that_nobody_asked_for_is_not_answered() {
    let mut mux = opened(false);
    let response = mux.received(state(CLUSTER, "1", vec![]).encode_to_vec().into(), Instant::now()).unwrap();
    assert!(!response.was_asked_for());
    mux.settle(response, &[]);
    assert_eq!(requests(&mut mux), [""; 0]);
}

#[test]
fn what_was_given_up_is_no_longer_taken() {
    let mut mux = opened(true);
    let watch = mux.watch(ENDPOINTS, names(&["a"]));
    requests(&mut mux);
    receive(&mut mux, &state(ENDPOINTS, "1", vec![named(ENDPOINTS, "a")]), &[]);
    requests(&mut mux);
    mux.unwatch(watch, ENDPOINTS);
    assert_eq!(requests(&mut mux), [r#"ClusterLoadAssignment[] version "1" nonce "nonce of 1""#]);
    let told = receive(&mut mux, &state(ENDPOINTS, "2", vec![named(ENDPOINTS, "a")]), &[]);
    assert_eq!(told.len(), 1, "{told:?}");
    let nack = requests(&mut mux);
    assert!(nack[0].contains(r#"version "1" nonce "nonce of 2" NACK 13: nobody asks for"#), "{nack:?}");
    mux.stream_closed();
    mux.stream_opened();
    assert_eq!(requests(&mut mux), [""; 0], "no names would mean everything");
}

#[test]
fn everything_and_names_beside_it_are_asked_for_with_a_star() {
    let mut mux = opened(true);
    mux.watch(LISTENER, Interest::All);
    mux.watch(LISTENER, names(&["a"]));
    assert_eq!(requests(&mut mux), [r#"Listener["a", "*"] version "" nonce "" node"#]);
}

#[test]
fn what_did_not_change_is_the_same_tree_again() {
    let mut mux = opened(false);
    mux.watch(CLUSTER, Interest::All);
    let mut trees = |version: &str, last: &str| -> Vec<Arc<Tree>> {
        let response = state(CLUSTER, version, vec![named(CLUSTER, "same"), named(CLUSTER, last)]);
        let response = mux.received(response.encode_to_vec().into(), Instant::now()).unwrap();
        let Update::State { resources, .. } = &response.deliveries[0].1 else { panic!("{response:?}") };
        let trees = resources.iter().map(|resource| Arc::clone(&resource.tree)).collect();
        mux.settle(response, &[]);
        trees
    };
    let (first, second) = (trees("1", "a"), trees("2", "b"));
    assert!(Arc::ptr_eq(&first[0], &second[0]));
    assert_ne!(first[1], second[1]);
}

#[test]
fn what_is_asked_for_once_more_is_known_already() {
    for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
        let mut mux = mux(protocol);
        mux.stream_opened();
        let first = mux.watch(ENDPOINTS, names(&["a"]));
        assert_eq!(mux.known(first, ENDPOINTS), None);
        let answer = |mux: &mut Mux, version: &str, errors: &[&str]| match protocol {
            Protocol::StateOfTheWorld => receive(
                mux,
                &state(ENDPOINTS, version, vec![named(ENDPOINTS, "a"), named(ENDPOINTS, "b")]),
                errors,
            ),
            Protocol::Delta => receive(mux, &delta(ENDPOINTS, version, &["a", "b"], &[]), errors),
        };
        answer(&mut mux, "1", &[]);
        answer(&mut mux, "2", &["what was refused does not count"]);
        let second = mux.watch(ENDPOINTS, names(&["a", "b"]));
        let known = tell(second, &mux.known(second, ENDPOINTS).unwrap());
        assert!(known.starts_with("2: ") && known.contains("a@1") && !known.contains('b'), "{known}");
        mux.stream_closed();
        assert!(mux.known(second, ENDPOINTS).is_some(), "whatever becomes of the stream");
        mux.unwatch(first, ENDPOINTS);
        mux.unwatch(second, ENDPOINTS);
        let third = mux.watch(ENDPOINTS, names(&["a"]));
        assert_eq!(mux.known(third, ENDPOINTS), None, "nobody would have been told of changes");
    }
}

#[test]
fn what_the_control_plane_took_away_is_not_known() {
    let mut mux = mux(Protocol::Delta);
    mux.stream_opened();
    mux.watch(ENDPOINTS, names(&["a"]));
    receive(&mut mux, &delta(ENDPOINTS, "1", &["a"], &[]), &[]);
    receive(&mut mux, &delta(ENDPOINTS, "2", &[], &["a"]), &[]);
    let second = mux.watch(ENDPOINTS, names(&["a"]));
    assert_eq!(mux.known(second, ENDPOINTS), None);
}
