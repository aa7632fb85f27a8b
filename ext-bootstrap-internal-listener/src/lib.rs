//! `envoy.bootstrap.internal_listener`: makes internal listeners possible.
//!
//! An internal listener has no kernel socket. It lives under its name inside the process and is reached by clusters whose
//! endpoints have an `envoy_internal_address`. This extension gives each worker a registry of such listeners
//! ([`InternalListenerRegistry`]), which the listener manager fills and from which the client connection factory takes
//! them. The factory comes along with this crate: whoever links it can connect to internal listeners.
//!
//! ```yaml
//! bootstrap_extensions:
//! - name: envoy.bootstrap.internal_listener
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener
//!     buffer_size_kb: 64
//! ```
//!
//! Without it a listener that says `internal_listener: {}` is refused, and connections to internal addresses fail.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/other_features/internal_listener>

use std::{rc::Rc, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    bootstrap_extension::{BootstrapExtension, BootstrapExtensionConfig},
    build_context::{BuildContext, BuildError},
    config::Ranged,
    extension,
    internal_listener::{InternalListenerRegistry, InternalListenerSupport},
    user_space_socket::DEFAULT_BUFFER_SIZE,
    worker::Worker,
};
// Installed automatically: see the crate's documentation.
use underpass_ext_client_envoy_internal as _;

/// `envoy.extensions.bootstrap.internal_listener.v3.InternalListener`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct InternalListener {
    /// How much each direction of an internal connection may hold, in KiB; 1024 unless set.
    pub buffer_size_kb: Option<Ranged<u32, 1, 8192>>,
}

impl InternalListener {
    /// How much each direction of an internal connection may hold, in bytes.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size_kb.map_or(DEFAULT_BUFFER_SIZE, |kib| kib.get() as usize * 1024)
    }
}

/// Makes internal listeners possible.
#[extension(
    name = "envoy.bootstrap.internal_listener",
    type_url = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"
)]
impl BootstrapExtensionConfig for InternalListener {
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn BootstrapExtension>, BuildError> {
        let buffer_size = self.buffer_size();
        context.server.singletons.insert(Arc::new(InternalListenerSupport { buffer_size }));
        Ok(Arc::new(RegistryForEachWorker { buffer_size }))
    }
}

struct RegistryForEachWorker {
    buffer_size: usize,
}

impl BootstrapExtension for RegistryForEachWorker {
    fn install(&self, worker: &Rc<Worker>) {
        worker.slots().insert(Rc::new(InternalListenerRegistry::new(self.buffer_size)));
    }
}

#[cfg(test)]
mod tests {
    use underpass_core::testing::{self, TestServer};

    use super::*;

    const TYPE: &str =
        "'@type': type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener";

    fn build(server: &TestServer, fields: &str) -> Result<Arc<dyn BootstrapExtension>, String> {
        let config = testing::read::<dyn BootstrapExtensionConfig>(&format!("{TYPE}\n{fields}"))?;
        server.build("", |context| config.build(context)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_worker_gets_a_registry_with_the_buffer_size_of_the_configuration() {
        for (fields, bytes) in
            [("", 1024 * 1024), ("buffer_size_kb: 1", 1024), ("bufferSizeKb: '8192'", 8_388_608)]
        {
            let server = TestServer::default();
            let extension = build(&server, fields).unwrap();
            let (first, second) = (server.worker(), server.worker());
            extension.install(&first);
            extension.install(&second);
            for worker in [first, second] {
                let registry = worker.slots().get::<InternalListenerRegistry>().unwrap();
                assert_eq!(registry.buffer_size(), bytes, "{fields:?}");
            }
        }
    }

    #[test]
    fn the_listener_manager_can_tell_that_internal_listeners_are_possible() {
        let server = TestServer::default();
        assert!(server.context.singletons.get::<InternalListenerSupport>().is_none());
        build(&server, "buffer_size_kb: 2").unwrap();
        let support = server.context.singletons.get::<InternalListenerSupport>().unwrap();
        assert_eq!(support.buffer_size, 2048);
    }

    #[test]
    fn a_buffer_size_out_of_range_is_refused() {
        for size in ["0", "8193"] {
            let refused = build(&TestServer::default(), &format!("buffer_size_kb: {size}")).err().unwrap();
            assert!(refused.contains("value must be inside range [1, 8192]"), "{refused}");
        }
        let refused = build(&TestServer::default(), "buffer_size_kb: 0").err().unwrap();
        insta::assert_snapshot!(refused, @"test.yaml:2:17: error: buffer_size_kb: value must be inside range [1, 8192], not 0");
    }

    #[test]
    fn the_client_connection_factory_comes_along() {
        let linked = TestServer::default().context.extensions.list();
        assert!(linked.iter().any(|extension| extension.name == "network.connection.client.envoy_internal"));
    }
}
