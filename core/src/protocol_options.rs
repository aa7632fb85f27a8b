//! Options of a cluster that belong to one protocol: `typed_extension_protocol_options`.
//!
//! What they are and mean is the business of the crate that speaks the protocol. The engine reads them with the cluster,
//! builds them once per version, and keeps what came of it where the protocol finds it.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    build_context::{BuildContext, BuildError},
    extension::Category,
};

/// The options of a protocol, as they stand in the configuration of a cluster.
#[typetag::deserialize(tag = "@type")]
pub trait ProtocolOptionsConfig: fmt::Debug + Send + Sync {
    /// The name under which they stand in the map, which Envoy goes by:
    /// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`.
    fn name(&self) -> &'static str;

    /// Builds what the protocol finds with [`ProtocolOptions::get`], once per version of the cluster of that name.
    fn build(
        &self,
        cluster: &str,
        context: &BuildContext<'_>,
    ) -> Result<Arc<dyn Any + Send + Sync>, BuildError>;
}

impl Category for dyn ProtocolOptionsConfig {
    const NAME: &'static str = "protocol options";
}

/// The built options of a cluster, at most one value of each type.
#[derive(Clone, Default)]
pub struct ProtocolOptions(Vec<Arc<dyn Any + Send + Sync>>);

impl ProtocolOptions {
    /// The options of that type, if the cluster has them.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.iter().find_map(|options| Arc::clone(options).downcast().ok())
    }

    /// Adds options.
    pub fn push(&mut self, options: Arc<dyn Any + Send + Sync>) {
        self.0.push(options);
    }
}

impl fmt::Debug for ProtocolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtocolOptions").field("len", &self.0.len()).finish_non_exhaustive()
    }
}
