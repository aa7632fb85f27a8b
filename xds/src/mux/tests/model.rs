//! Any order of events, held to what the protocol promises.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What can happen.
#[derive(Debug, Clone)]
enum Event {
    Watch(BTreeSet<u8>),
    Change(usize, BTreeSet<u8>),
    Unwatch(usize),
    Respond { changed: BTreeSet<u8>, removed: BTreeSet<u8>, good: bool },
    Send,
    Reconnect,
}

fn event() -> impl Strategy<Value = Event> {
    let some = || proptest::collection::btree_set(0_u8..5, 1..4);
    let few = || proptest::collection::btree_set(0_u8..5, 0..4);
    prop_oneof![
        some().prop_map(Event::Watch),
        (0_usize..4, some()).prop_map(|(watch, names)| Event::Change(watch, names)),
        (0_usize..4).prop_map(Event::Unwatch),
        (few(), few(), any::<bool>()).prop_map(|(changed, removed, good)| Event::Respond {
            removed: removed.difference(&changed).copied().collect(),
            changed,
            good
        }),
        Just(Event::Send),
        Just(Event::Reconnect),
    ]
}

fn name(number: u8) -> String {
    format!("name{number}")
}

fn interest(numbers: &BTreeSet<u8>) -> Interest {
    Interest::Names(numbers.iter().map(|number| Arc::from(name(*number))).collect())
}

/// A control plane: what it was told on the present stream.
#[derive(Default)]
struct Server {
    subscribed: BTreeSet<String>,
    unanswered: Vec<(String, bool)>,
    heard: bool,
}

struct World {
    mux: Mux,
    server: Server,
    watches: BTreeMap<WatchId, BTreeSet<u8>>,
    /// What was accepted, by name.
    accepted: BTreeMap<String, String>,
    responses: usize,
}

impl World {
    fn new(protocol: Protocol) -> Self {
        let mut mux = mux(protocol);
        mux.stream_opened();
        let (server, watches, accepted) = (Server::default(), BTreeMap::new(), BTreeMap::new());
        Self { mux, server, watches, accepted, responses: 0 }
    }

    fn watch(&self, index: usize) -> Option<WatchId> {
        self.watches.keys().nth(index).copied()
    }

    fn wanted(&self) -> BTreeSet<String> {
        self.watches.values().flatten().map(|number| name(*number)).collect()
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Watch(names) => {
                let watch = self.mux.watch(ENDPOINTS, interest(&names));
                self.watches.insert(watch, names);
            }
            Event::Change(index, names) => {
                if let Some(watch) = self.watch(index) {
                    self.mux.update_watch(watch, ENDPOINTS, interest(&names));
                    self.watches.insert(watch, names);
                }
            }
            Event::Unwatch(index) => {
                if let Some(watch) = self.watch(index) {
                    self.mux.unwatch(watch, ENDPOINTS);
                    self.watches.remove(&watch);
                }
            }
            Event::Respond { changed, removed, good } => self.respond(&changed, &removed, good),
            Event::Send => self.send(),
            Event::Reconnect => {
                self.mux.stream_closed();
                self.mux.stream_opened();
                self.server = Server::default();
            }
        }
        let wanted = self.wanted();
        self.accepted.retain(|name, _| wanted.contains(name));
    }

    /// A server speaks once it was spoken to.
    fn respond(&mut self, changed: &BTreeSet<u8>, removed: &BTreeSet<u8>, good: bool) {
        if !self.server.heard {
            return;
        }
        self.responses += 1;
        let version = self.responses.to_string();
        let names = |numbers: &BTreeSet<u8>| numbers.iter().map(|it| name(*it)).collect::<Vec<_>>();
        let (changed, removed) = (names(changed), names(removed));
        let texts = |names: &'_ [String]| names.iter().map(String::clone).collect::<Vec<_>>();
        let (changed_texts, removed_texts) = (texts(&changed), texts(&removed));
        let response = delta(
            ENDPOINTS,
            &version,
            &changed_texts.iter().map(String::as_str).collect::<Vec<_>>(),
            &removed_texts.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        receive(&mut self.mux, &response, if good { &[] } else { &["bad"] });
        self.server.unanswered.push((response.nonce, good));
        if good {
            let wanted = self.wanted();
            changed.into_iter().filter(|name| wanted.contains(name)).for_each(|name| {
                self.accepted.insert(name, version.clone());
            });
            removed.iter().for_each(|name| _ = self.accepted.remove(name));
        }
    }

    /// Everything that the client has to say reaches the server.
    fn send(&mut self) {
        while let Some(request) = self.mux.next_request() {
            let request = DeltaDiscoveryRequest::decode(request).unwrap();
            if self.server.heard {
                assert!(request.initial_resource_versions.is_empty(), "{request:?}");
            } else {
                let has: BTreeMap<_, _> = request.initial_resource_versions.into_iter().collect();
                assert_eq!(has, self.accepted);
                self.server.heard = true;
            }
            for name in request.resource_names_unsubscribe {
                assert!(self.server.subscribed.remove(&name), "{name} was never subscribed to");
            }
            self.server.subscribed.extend(request.resource_names_subscribe);
            if !request.response_nonce.is_empty() {
                let (nonce, good) = self.server.unanswered.remove(0);
                assert_eq!((request.response_nonce, request.error_detail.is_none()), (nonce, good));
            }
        }
        assert!(self.server.unanswered.is_empty());
        assert_eq!(self.server.subscribed, self.wanted());
    }
}

proptest! {
    /// The server knows what is wanted, hears of every response in order, and on a new stream is told exactly what was
    /// accepted.
    #[test]
    fn client_and_control_plane_agree(events in proptest::collection::vec(event(), 0..60)) {
        let mut world = World::new(Protocol::Delta);
        for event in events {
            world.apply(event);
        }
        world.send();
    }

    /// Whatever bytes come, nothing panics, and what can be answered is.
    #[test]
    fn garbage_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), head in 0_usize..3) {
        for protocol in [Protocol::StateOfTheWorld, Protocol::Delta] {
            let mut mux = mux(protocol);
            mux.stream_opened();
            mux.watch(LISTENER, Interest::All);
            while mux.next_request().is_some() {}
            let any = Any { type_url: LISTENER.to_owned(), value: bytes.clone().into() };
            let message = match head {
                0 => bytes.clone(),
                1 => state(LISTENER, "1", vec![any]).encode_to_vec(),
                _ => DeltaDiscoveryResponse {
                    resources: vec![Wrapped { resource: Some(any), ..Default::default() }],
                    ..delta(LISTENER, "1", &[], &[])
                }
                .encode_to_vec(),
            };
            if let Ok(response) = mux.received(message.into(), Instant::now()) {
                let answered = response.was_asked_for();
                mux.settle(response, &[]);
                prop_assert_eq!(mux.next_request().is_some(), answered);
            }
        }
    }
}
