//! What a configuration gets when it is built into a runtime object, and how building fails.

use std::{cell::RefCell, fmt, sync::Arc};

use crate::{
    config::{ConfigPath, TypedConfig},
    extension::Category,
    init::InitManager,
    server::ServerContext,
    stats::Scope,
    stream_info::ListenerInfo,
};

/// What a configuration gets when it is built.
pub struct BuildContext<'a> {
    /// The process.
    pub server: &'a Arc<ServerContext>,
    /// The scope of what is being built: `listener.<address>` or `cluster.<name>`; the root of all stats is
    /// `server.stats`.
    pub scope: &'a Scope,
    /// The listener, where something of a listener is built.
    pub listener: Option<&'a Arc<ListenerInfo>>,
    /// What must be ready before that which is built is used: that of the listener, or that of the process.
    pub init: &'a Arc<InitManager>,
    path: ConfigPath,
    warnings: &'a RefCell<Vec<BuildError>>,
}

impl<'a> BuildContext<'a> {
    /// For the engine, and for tests of extensions. `path` is where the configuration stands; `warnings` collects what
    /// deserves a word but is no error.
    pub fn new(
        server: &'a Arc<ServerContext>,
        scope: &'a Scope,
        path: ConfigPath,
        warnings: &'a RefCell<Vec<BuildError>>,
    ) -> Self {
        Self { server, scope, listener: None, init: &server.init, path, warnings }
    }

    /// The same, for a listener.
    #[must_use]
    pub fn with_listener(self, listener: &'a Arc<ListenerInfo>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The same, for something that waits for its own targets.
    #[must_use]
    pub fn with_init(self, init: &'a Arc<InitManager>) -> Self {
        Self { init, ..self }
    }

    /// Where the configuration stands that is being built.
    pub fn path(&self) -> &ConfigPath {
        &self.path
    }

    /// Builds a nested typed config; errors of it carry its path.
    pub fn build<C: ?Sized + Category, T>(
        &self,
        config: &TypedConfig<C>,
        build: impl FnOnce(&C, &BuildContext<'_>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let nested = BuildContext { path: config.path().clone(), ..*self };
        build(config, &nested).map_err(|error| error.or_at(config.path()))
    }

    /// Notes something that is accepted but probably not meant.
    pub fn warn(&self, warning: BuildError) {
        self.warnings.borrow_mut().push(warning.or_at(&self.path));
    }

    /// An error about a field of the configuration that is being built.
    pub fn error_at(&self, field: &str, message: impl Into<String>) -> BuildError {
        BuildError { path: Some(self.path.field(field)), message: message.into() }
    }
}

/// Why a configuration could not be built. The engine adds file, line and column from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// Where, as far as is known.
    pub path: Option<ConfigPath>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl BuildError {
    /// An error about the whole configuration that is being built.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: None, message: message.into() }
    }

    /// An error about a place.
    pub fn at(path: ConfigPath, message: impl Into<String>) -> Self {
        Self { path: Some(path), message: message.into() }
    }

    /// Says where, if that is not known yet.
    #[must_use]
    pub fn or_at(mut self, path: &ConfigPath) -> Self {
        self.path.get_or_insert_with(|| path.clone());
        self
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for BuildError {}
