//! Resources that count for a time only.

use std::time::Duration;

use super::*;
use crate::proto::Duration as Ttl;

fn wrapped(name: &str, seconds: i64, heartbeat: bool) -> Wrapped {
    let resource = (!heartbeat).then(|| named(CLUSTER, name));
    let ttl = Some(Ttl { seconds, nanos: 0 });
    Wrapped { name: name.to_owned(), version: "1".to_owned(), resource, ttl, ..Default::default() }
}

/// A response of each protocol with these resources.
fn response(protocol: Protocol, version: &str, resources: Vec<Wrapped>) -> Bytes {
    match protocol {
        Protocol::Delta => {
            let mut response = delta(CLUSTER, version, &[], &[]);
            response.resources = resources;
            response.encode_to_vec().into()
        }
        Protocol::StateOfTheWorld => {
            let wrap = |resource: &Wrapped| Any {
                type_url: type_url(Wrapped::TYPE_NAME),
                value: resource.encode_to_vec().into(),
            };
            state(CLUSTER, version, resources.iter().map(wrap).collect()).encode_to_vec().into()
        }
    }
}

#[test]
fn a_resource_goes_when_its_time_is_up_unless_a_heartbeat_comes() {
    for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
        let mut mux = mux(protocol);
        mux.stream_opened();
        mux.watch(CLUSTER, Interest::All);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = vec![wrapped("a", 5, false), wrapped("b", 5, false)];
        let first = mux.received(response(protocol, "1", both), start).unwrap();
        mux.settle(first, &[]);
        assert_eq!(mux.next_expiry(), Some(at(5)));
        let heartbeat = mux.received(response(protocol, "1", vec![wrapped("b", 5, true)]), at(3)).unwrap();
        let told: Vec<_> = heartbeat.deliveries.iter().map(|(watch, update)| tell(*watch, update)).collect();
        assert_eq!(told, [""; 0], "a heartbeat is no news");
        mux.settle(heartbeat, &[]);
        assert!(mux.expire(at(4)).is_empty());
        let gone: Vec<_> = mux.expire(at(5)).iter().map(|(watch, update)| tell(*watch, update)).collect();
        assert_eq!(gone, ["1: changed at : ; gone: a"]);
        assert_eq!(mux.next_expiry(), Some(at(8)));
        mux.stream_closed();
        mux.stream_opened();
        if protocol == Protocol::Delta {
            assert_eq!(delta_requests(&mut mux), [r#"Cluster +[] -[] has [("b", "1")] nonce """#]);
        }
    }
}

#[test]
fn a_heartbeat_beside_news_belongs_to_the_whole() {
    let mut mux = mux(Protocol::StateOfTheWorld);
    mux.stream_opened();
    mux.watch(CLUSTER, Interest::All);
    let now = Instant::now();
    let receive = |mux: &mut Mux, version, resources| {
        let response = mux.received(response(Protocol::StateOfTheWorld, version, resources), now).unwrap();
        let deliveries = response.deliveries.clone();
        mux.settle(response, &[]);
        deliveries
    };
    let kept = receive(&mut mux, "1", vec![wrapped("a", 5, false), wrapped("b", 5, false)]);
    let mixed = receive(&mut mux, "2", vec![wrapped("a", 5, true), wrapped("c", 5, false)]);
    assert_eq!(tell(mixed[0].0, &mixed[0].1), "1: all at 2: a@2 c@2");
    drop(kept);
}

#[test]
fn a_resource_that_comes_without_a_time_stays() {
    let mut mux = mux(Protocol::Delta);
    mux.stream_opened();
    mux.watch(CLUSTER, Interest::All);
    let now = Instant::now();
    let first = mux.received(response(Protocol::Delta, "1", vec![wrapped("a", 5, false)]), now).unwrap();
    mux.settle(first, &[]);
    receive(&mut mux, &delta(CLUSTER, "2", &["a"], &[]), &[]);
    assert_eq!(mux.next_expiry(), None);
}

#[test]
fn a_wrapped_resource_without_time_and_content_is_refused() {
    let mut mux = mux(Protocol::Delta);
    mux.stream_opened();
    mux.watch(CLUSTER, Interest::All);
    let empty = Wrapped { name: "a".to_owned(), ..Default::default() };
    let response = mux.received(response(Protocol::Delta, "1", vec![empty]), Instant::now()).unwrap();
    assert_eq!(response.rejection.as_ref().unwrap().0, "Cluster/a: there is no resource in it");
    mux.settle(response, &[]);
}
