//! Bootstrap extensions: they install themselves into the server while it is built, and into each worker.

use std::{fmt, rc::Rc, sync::Arc};

use crate::{
    build_context::{BuildContext, BuildError},
    extension::Category,
    worker::Worker,
};

/// The configuration of a bootstrap extension.
#[typetag::deserialize(tag = "@type")]
pub trait BootstrapExtensionConfig: fmt::Debug + Send + Sync {
    /// Builds the extension; it may leave things for others in `context.server.singletons`.
    fn build(&self, context: &BuildContext<'_>) -> Result<Arc<dyn BootstrapExtension>, BuildError>;
}

impl Category for dyn BootstrapExtensionConfig {
    const NAME: &'static str = "bootstrap extension";
}

/// A bootstrap extension.
pub trait BootstrapExtension: Send + Sync {
    /// Runs on each worker before it has listeners.
    fn install(&self, _worker: &Rc<Worker>) {}
}
