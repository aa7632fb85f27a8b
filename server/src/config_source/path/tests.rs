//! Files that are replaced, edited and linked.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;
use underpass_core::config_subscription::{
    ConfigUpdate, ConfigWatcher, FetchFailure, SubscriptionRequest, SubscriptionStats, check, subscribe,
};

use super::*;
use crate::{
    config::read_for_test,
    test_server::{TestOptions, TestServer, eventually},
};

const LISTENER: &str = "envoy.config.listener.v3.Listener";

/// The names of the last update, or why there was none.
#[derive(Default)]
struct Last(Mutex<String>);

impl Last {
    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn becomes(&self, expected: &str) {
        eventually(|| self.get() == expected, || format!("{:?}, not {expected:?}", self.get())).await;
    }
}

impl ConfigWatcher for Last {
    fn update(&self, update: &ConfigUpdate) -> Result<(), String> {
        let names: Vec<_> = update.resources.iter().map(|it| &*it.name).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = names.join(",");
        Ok(())
    }

    fn failed(&self, why: FetchFailure) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = format!("{why:?}");
    }
}

/// A subscription to a file in a directory of its own.
struct Followed {
    directory: TempDir,
    server: TestServer,
    last: Arc<Last>,
    _watcher: Arc<dyn ConfigWatcher>,
    _subscription: Box<dyn Subscription>,
}

impl Followed {
    fn new(directory: TempDir, watched: &str) -> Self {
        let server = TestServer::new(TestOptions::default());
        let at = directory.path().display();
        let watched = if watched.is_empty() {
            String::new()
        } else {
            format!(", watched_directory: {{path: '{at}/{watched}'}}")
        };
        let source: ConfigSource = read_for_test(
            &format!("path_config_source: {{path: '{at}/l.yaml'{watched}}}"),
            "envoy.config.core.v3.ConfigSource",
        );
        let last = Arc::<Last>::default();
        let watcher: Arc<dyn ConfigWatcher> = Arc::clone(&last) as _;
        let request = SubscriptionRequest {
            source: &source,
            type_name: LISTENER,
            names: Vec::new(),
            stats: SubscriptionStats::new(&server.context.stats.scope("x")),
            watcher: Arc::downgrade(&watcher),
        };
        let subscription = subscribe(request, &server.context);
        Self { directory, server, last, _watcher: watcher, _subscription: subscription }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces a file as Envoy wants it.
    fn rename_to(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }
}

fn listener(name: &str) -> String {
    format!("{{version_info: v, resources: [{{'@type': x/{LISTENER}, name: {name}}}]}}")
}

fn with_file(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("l.yaml"), text).unwrap();
    directory
}

#[tokio::test(flavor = "local")]
async fn a_file_is_read_at_once_and_when_another_takes_its_place() {
    let followed = Followed::new(with_file(&listener("a")), "");
    assert_eq!(followed.last.get(), "a", "it is there before anything else happens");
    followed.rename_to("l.yaml", &listener("b"));
    followed.last.becomes("b").await;
    followed.rename_to("l.yaml", &listener("b"));
    followed.server.wait_for("x.update_success", 3).await;
    followed.rename_to("other.yaml", &listener("c"));
    followed.rename_to("l.yaml", &listener("d"));
    followed.last.becomes("d").await;
    assert_eq!(followed.server.stat("x.update_attempt"), 4, "another file of the directory does not count");
}

#[tokio::test(flavor = "local")]
async fn a_file_that_is_edited_in_place_is_read_when_it_is_closed() {
    let followed = Followed::new(with_file(&listener("a")), "");
    fs::write(followed.path("l.yaml"), listener("edited")).unwrap();
    followed.last.becomes("edited").await;
}

#[tokio::test(flavor = "local")]
async fn a_linked_directory_is_followed_as_kubernetes_changes_it() {
    let directory = tempfile::tempdir().unwrap();
    let version = |name: &str| {
        fs::create_dir(directory.path().join(name)).unwrap();
        fs::write(directory.path().join(name).join("l.yaml"), listener(name)).unwrap();
    };
    version("..one");
    version("..two");
    symlink("..one", directory.path().join("..data")).unwrap();
    symlink("..data/l.yaml", directory.path().join("l.yaml")).unwrap();
    let followed = Followed::new(directory, "");
    assert_eq!(followed.last.get(), "..one");
    symlink("..two", followed.path("..tmp")).unwrap();
    fs::rename(followed.path("..tmp"), followed.path("..data")).unwrap();
    followed.last.becomes("..two").await;
    fs::write(followed.path("..two/l.yaml"), listener("edited")).unwrap();
    followed.last.becomes("edited").await;
}

#[tokio::test(flavor = "local")]
async fn a_watched_directory_says_when_to_read() {
    let directory = with_file(&listener("a"));
    fs::create_dir(directory.path().join("signal")).unwrap();
    let followed = Followed::new(directory, "signal");
    fs::write(followed.path("l.yaml"), listener("b")).unwrap();
    followed.last.becomes("b").await;
    followed.rename_to("signal/anything", "");
    followed.server.wait_for("x.update_success", 3).await;
}

#[tokio::test(flavor = "local")]
async fn a_directory_that_is_deleted_and_made_again_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let way = directory.path().join("a/b");
    fs::create_dir_all(&way).unwrap();
    symlink("a/b/l.yaml", directory.path().join("l.yaml")).unwrap();
    fs::write(way.join("l.yaml"), listener("first")).unwrap();
    let followed = Followed::new(directory, "a/b");
    assert_eq!(followed.last.get(), "first");
    for (number, gone) in ["a/b", "a"].iter().enumerate() {
        fs::remove_dir_all(followed.path(gone)).unwrap();
        // However fast it comes back, or slowly enough that its absence is seen.
        if number == 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fs::create_dir_all(&way).unwrap();
        fs::write(way.join("l.yaml"), listener(&format!("again{number}"))).unwrap();
        followed.last.becomes(&format!("again{number}")).await;
        followed.rename_to("a/b/l.yaml", &listener(&format!("renamed{number}")));
        followed.last.becomes(&format!("renamed{number}")).await;
    }
    assert_eq!(followed.server.stat("x.update_failure"), 0, "a file that is not there is waited for");
}

#[tokio::test(flavor = "local")]
async fn a_directory_that_another_takes_the_place_of_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    for version in ["one", "two"] {
        fs::create_dir_all(directory.path().join(version).join("deep")).unwrap();
        fs::write(directory.path().join(version).join("deep/l.yaml"), listener(version)).unwrap();
    }
    let [current, two] = ["current", "two"].map(|name| directory.path().join(name));
    // By a link in the middle of the path, and by a rename far above the file.
    symlink("one", &current).unwrap();
    symlink("current/deep/l.yaml", directory.path().join("l.yaml")).unwrap();
    let followed = Followed::new(directory, "");
    assert_eq!(followed.last.get(), "one");
    symlink("two", followed.path("link")).unwrap();
    fs::rename(followed.path("link"), &current).unwrap();
    followed.last.becomes("two").await;
    fs::rename(&two, followed.path("away")).unwrap();
    fs::rename(followed.path("one"), &two).unwrap();
    followed.last.becomes("one").await;
    fs::write(two.join("deep/l.yaml"), listener("edited")).unwrap();
    followed.last.becomes("edited").await;
}

#[tokio::test(flavor = "local")]
async fn a_file_that_makes_no_sense_or_is_gone_leaves_the_last_good_one() {
    let followed = Followed::new(with_file(&listener("a")), "");
    let whole = listener("whole");
    let (first, rest) = whole.split_at(whole.len() / 2);
    // In two writes, and something else happens in between.
    fs::write(followed.path("l.yaml"), first).unwrap();
    followed.server.wait_for("x.update_failure", 1).await;
    fs::OpenOptions::new()
        .append(true)
        .open(followed.path("l.yaml"))
        .unwrap()
        .write_all(rest.as_bytes())
        .unwrap();
    followed.last.becomes("whole").await;
    fs::write(followed.path("l.yaml"), "").unwrap();
    followed.server.wait_for("x.update_failure", 2).await;
    assert_eq!(followed.server.stat("x.update_success"), 2, "nothing was delivered");
    let attempts = followed.server.stat("x.update_attempt");
    fs::remove_file(followed.path("l.yaml")).unwrap();
    fs::write(followed.path("other"), "").unwrap();
    // A file that is made there is read when whoever makes it has closed it; there is time to read it too early.
    let mut file = fs::File::create(followed.path("l.yaml")).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    file.write_all(listener("back").as_bytes()).unwrap();
    drop(file);
    followed.last.becomes("back").await;
    assert_eq!(
        followed.server.stat("x.update_attempt"),
        attempts + 1,
        "nor is a file read that is not there"
    );
    // A link is all there is to it.
    fs::write(followed.path("another"), listener("linked")).unwrap();
    fs::remove_file(followed.path("l.yaml")).unwrap();
    fs::hard_link(followed.path("another"), followed.path("l.yaml")).unwrap();
    followed.last.becomes("linked").await;
}

#[tokio::test(flavor = "local")]
async fn what_cannot_be_read_is_a_failure_and_the_next_version_counts() {
    let followed = Followed::new(with_file("{a: ["), "");
    assert_eq!(followed.last.get(), "Unavailable");
    followed.rename_to("l.yaml", "{resources: [{'@type': x/envoy.config.cluster.v3.Cluster}]}");
    followed.last.becomes("Rejected").await;
    followed.rename_to("l.yaml", &listener("a"));
    followed.last.becomes("a").await;
    insta::assert_snapshot!(followed.server.used("x.update_").join("\n").lines().filter(|line| !line.contains("time")).collect::<Vec<_>>().join("\n"), @"
    x.update_attempt: 3
    x.update_failure: 1
    x.update_rejected: 1
    x.update_success: 1
    ");
}

#[test]
fn a_file_that_is_not_there_is_refused_in_envoys_words() {
    let server = TestServer::new(TestOptions::default());
    let said = |yaml: &str| {
        let source = read_for_test(yaml, "envoy.config.core.v3.ConfigSource");
        check(&source, &ConfigPath::root().field("lds_config"), &server.context).unwrap_err().to_string()
    };
    insta::assert_snapshot!(said("path_config_source: {path: /no/such.yaml}"), @"lds_config.path_config_source.path: paths must refer to an existing path in the system: '/no/such.yaml' does not exist");
    insta::assert_snapshot!(said("path: /no/such.yaml"), @"lds_config.path: paths must refer to an existing path in the system: '/no/such.yaml' does not exist");
    insta::assert_snapshot!(said("path_config_source: {path: /, watched_directory: {path: /no}}"), @"lds_config.path_config_source.watched_directory.path: '/no' is no directory that can be watched");
}
