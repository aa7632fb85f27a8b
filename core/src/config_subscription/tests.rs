//! What a source does, and what a watcher sees of it.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::{
    config::{ConfigPath, parse_yaml},
    testing::TestServer,
};

/// Notes what it is told, and refuses an update whose version is `bad`.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ConfigWatcher for Notes {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        self.note(format!("update {}", update.version));
        if &*update.version == "bad" { Err("no".to_owned()) } else { Ok(()) }
    }

    fn failed(&self, why: FetchFailure) {
        self.note(format!("{why:?}"));
    }
}

/// The source `self` of this test: its deliveries.
struct Manual;

static DELIVERIES: Mutex<Vec<Delivery>> = Mutex::new(Vec::new());

inventory::submit! {
    ConfigSourceRegistration {
        registration: Registration::named(CONFIG_SOURCE_CATEGORY, "test.manual", env!("CARGO_PKG_NAME"), ""),
        kind: SourceKind::OwnServer,
        factory: &Manual,
    }
}

impl ConfigSourceFactory for Manual {
    fn check(&self, _: &ConfigSource, _: &ConfigPath, _: &Arc<ServerContext>) -> Result<(), BuildError> {
        Ok(())
    }

    fn subscribe(
        &self,
        _: &ConfigSource,
        delivery: Delivery,
        _: &Arc<ServerContext>,
    ) -> Box<dyn Subscription> {
        DELIVERIES.lock().unwrap_or_else(PoisonError::into_inner).push(delivery);
        Box::new(Nothing)
    }
}

fn source(yaml: &str) -> ConfigSource {
    let extensions = crate::extension::ExtensionSet::with([]).unwrap();
    let reader = crate::config::Reader::new(&extensions);
    let document = parse_yaml("x.yaml", yaml).unwrap();
    reader.read(&document.root, ConfigPath::root(), "envoy.config.core.v3.ConfigSource").unwrap()
}

fn update(version: &str) -> ConfigUpdate {
    ConfigUpdate { version: version.into(), resources: Vec::new(), gone: Gone::Rest }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_subscription_counts_and_the_first_answer_has_a_deadline() {
    let server = TestServer::default();
    let notes = Arc::new(Notes::default());
    let watcher: Arc<dyn ConfigWatcher> = Arc::clone(&notes) as _;
    let scope = server.context.stats.scope("x");
    let request = SubscriptionRequest {
        source: &source("{self: {}, initial_fetch_timeout: 2s}"),
        type_name: "envoy.config.listener.v3.Listener",
        names: Vec::new(),
        stats: SubscriptionStats::new(&scope),
        watcher: Arc::downgrade(&watcher),
    };
    let _subscription = subscribe(request, &server.context);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(notes.take(), ["TimedOut"]);
    let delivery = DELIVERIES.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap();
    delivery.attempt();
    assert_eq!(delivery.deliver(&update("bad")), Err("no".to_owned()));
    delivery.deliver(&update("1")).unwrap();
    delivery.fail("the cable is cut");
    assert_eq!(notes.take(), ["update bad", "Rejected", "update 1", "Unavailable"]);
    let value = |name: &str| {
        let snapshot = server.stats.snapshot();
        let mut all = snapshot.counters.iter().chain(&snapshot.gauges);
        all.find(|stat| stat.name.as_str() == name).map(|stat| stat.value)
    };
    let counted = ["init_fetch_timeout", "update_rejected", "update_success", "update_failure"];
    assert_eq!(counted.map(|name| value(&format!("x.{name}"))), [Some(1); 4]);
    assert_eq!(value("x.update_attempt"), Some(2), "one of the source, and the end of the wait");
    assert_eq!(value("x.version"), Some(13_237_225_503_670_494_420), "Envoy's hash of the text 1");
    drop((watcher, notes));
    assert!(delivery.is_abandoned());
}

#[test]
fn a_source_that_nobody_serves_is_refused_with_its_path() {
    let server = TestServer::default();
    let said = |yaml: &str| {
        let path = ConfigPath::root().field("dynamic_resources").field("cds_config");
        check(&source(yaml), &path, &server.context).unwrap_err().to_string()
    };
    insta::assert_snapshot!(said("{ads: {}}"), @"dynamic_resources.cds_config.ads: ads is not implemented yet; use path_config_source");
    insta::assert_snapshot!(said("{api_config_source: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: x}}]}}"), @"dynamic_resources.cds_config.api_config_source: api_config_source is not implemented yet; use path_config_source");
}
