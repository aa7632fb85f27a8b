//! Runs listeners from YAML on workers that share the test's thread.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use underpass_core::{
    address::Address,
    build_context::BuildError,
    config::{ConfigPath, Reader, parse_yaml},
    internal_listener::{InternalListenerRegistry, InternalListenerSupport},
    stream_info::Passthrough,
    user_space_socket::{PairOptions, UserSpaceSocket, pair},
    worker::Worker,
};

use super::super::{Change, ListenerConfig, ListenerManager, Source};
use crate::{
    config::{listener::Listener, overload::OverloadManager},
    test_server::{TestOptions, TestServer},
};

/// A process with its listeners, and as many workers as it has, all on this thread.
pub(super) struct Proxy {
    pub(super) server: TestServer,
    pub(super) manager: Arc<ListenerManager>,
    pub(super) workers: Vec<Rc<Worker>>,
    pub(super) warnings: RefCell<Vec<BuildError>>,
}

impl Proxy {
    /// Built, not bound.
    pub(super) fn load(options: TestOptions, listeners: &[&str]) -> Result<Self, BuildError> {
        let server = TestServer::new(options);
        server.context.singletons.insert(Arc::new(InternalListenerSupport { buffer_size: 4096 }));
        let manager = ListenerManager::new(&server.context, &OverloadManager::default());
        let workers = (0..server.context.options.concurrency)
            .map(|index| Rc::new(Worker::new(index, Arc::clone(&server.context))));
        let workers = workers.collect();
        let proxy = Self { server, manager, workers, warnings: RefCell::default() };
        for (index, text) in listeners.iter().enumerate() {
            proxy.add(index, text, Source::Static)?;
        }
        Ok(proxy)
    }

    /// Nothing configured, and the bootstrap extension is missing.
    pub(super) fn without_internal_listeners() -> Self {
        let server = TestServer::new(TestOptions::default());
        let manager = ListenerManager::new(&server.context, &OverloadManager::default());
        Self { server, manager, workers: Vec::new(), warnings: RefCell::default() }
    }

    /// Built and serving.
    pub(super) fn start(options: TestOptions, listeners: &[&str]) -> Self {
        let proxy = Self::load(options, listeners).unwrap();
        proxy.serve();
        proxy
    }

    /// One worker, the usual options.
    pub(super) fn serving(listeners: &[&str]) -> Self {
        Self::start(TestOptions::default(), listeners)
    }

    pub(super) fn serve(&self) {
        self.manager.bind().unwrap();
        for worker in &self.workers {
            worker.slots().insert(Rc::new(InternalListenerRegistry::new(4096)));
            self.manager.attach(worker).unwrap();
        }
    }

    fn add(&self, index: usize, text: &str, source: Source) -> Result<Change, BuildError> {
        let document = parse_yaml("test.yaml", text).unwrap();
        let reader = Reader::new(&self.server.context.extensions);
        let path = ConfigPath::root().field("listeners").index(index);
        let message: Option<Listener> =
            reader.read(&document.root, path.clone(), "envoy.config.listener.v3.Listener");
        let message = message.unwrap_or_else(|| panic!("{}", reader.into_report()));
        let config = ListenerConfig { message: &message, node: document.root, path, source };
        self.manager.add_or_update(&config, &self.warnings)
    }

    /// As a control plane would.
    pub(super) fn update(&self, text: &str) -> Result<Change, BuildError> {
        self.add(0, text, Source::Api { version_info: "v1".into() })
    }

    /// Lets the workers, which share this thread, do what has changed.
    pub(super) async fn settle(&self) {
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    /// The port of a listener.
    pub(super) fn port(&self, name: &str) -> u16 {
        let status = self.manager.statuses().into_iter().find(|status| status.name == name).unwrap();
        status.addresses[0].port().unwrap()
    }

    pub(super) async fn connect(&self, name: &str) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port(name))).await.unwrap()
    }

    /// Connects to an internal listener of the first worker as the client connection factory does.
    pub(super) fn connect_internal(
        &self,
        name: &str,
        passthrough: Option<Passthrough>,
    ) -> Option<UserSpaceSocket> {
        let registry = self.workers[0].slots().get::<InternalListenerRegistry>().unwrap();
        let listener = registry.get(name)?;
        let address = Address::internal(name, "ep");
        let (client, server) = pair(PairOptions::new(address.clone()));
        if let Some(passthrough) = passthrough {
            client.set_passthrough(passthrough);
        }
        listener.accept(server, address);
        Some(client)
    }
}

/// A TCP listener on a port that the kernel chooses, with one chain that says a text; `more` are further fields.
pub(super) fn saying(name: &str, text: &str, more: &str) -> String {
    let chain = chain(text, "");
    format!("{{name: {name}, {ANY_PORT}, filter_chains: [{chain}], {more}}}")
}

/// The same with these filter chains.
pub(super) fn with_chains(name: &str, chains: &[String], more: &str) -> String {
    format!("{{name: {name}, {ANY_PORT}, filter_chains: [{}], {more}}}", chains.join(", "))
}

pub(super) fn internal(name: &str, text: &str) -> String {
    format!("{{name: {name}, internal_listener: {{}}, filter_chains: [{}], {LOG}}}", chain(text, ""))
}

/// A chain that says a text; `more` are further fields.
pub(super) fn chain(text: &str, more: &str) -> String {
    format!("{{filters: [{}], {more}}}", filter("Say", &format!("text: '{text}'")))
}

pub(super) fn filter(kind: &str, fields: &str) -> String {
    format!("{{name: {kind}, typed_config: {{'@type': type.googleapis.com/test.{kind}, {fields}}}}}")
}

pub(super) const ANY_PORT: &str = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";

pub(super) const LOG: &str =
    "access_log: [{name: log, typed_config: {'@type': type.googleapis.com/test.Log}}]";

/// Reads exactly as many bytes as the text has and compares.
pub(super) async fn expect(stream: &mut (impl AsyncReadExt + Unpin), text: &str) {
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), text);
}

/// Sends a byte and waits until it comes back.
pub(super) async fn ping(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    stream.write_all(b"x").await.unwrap();
    expect(stream, "x").await;
}

/// Everything up to the end, however that comes.
pub(super) async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got).await;
    String::from_utf8(got).unwrap()
}
