//! What all levels of a route say to HTTP filters.

use std::{any::Any, sync::Arc};

use underpass_core::{build_context::BuildError, config::ConfigPath};

use crate::filter::{HttpFilterContext, PerFilterConfigs, TypedPerFilterConfig};

/// The configurations of filters for a route, from all levels: the route configuration, the virtual host, the route, and
/// the weighted cluster.
#[derive(Debug, Clone, Default)]
pub struct FilterConfigs {
    /// Those levels that say something, the most specific one last.
    levels: Vec<Arc<PerFilterConfigs>>,
}

impl FilterConfigs {
    /// The most specific configuration for a filter, if it is of this type.
    pub fn get<T: Any + Send + Sync>(&self, filter: &str) -> Option<Arc<T>> {
        self.levels
            .iter()
            .rev()
            .find_map(|level| level.get(filter))
            .and_then(|built| Arc::clone(built).downcast().ok())
    }

    /// All configurations for a filter, from the least specific level to the most specific one.
    pub fn all<T: Any + Send + Sync>(&self, filter: &str) -> impl Iterator<Item = Arc<T>> {
        self.levels.iter().filter_map(|level| level.get(filter).cloned()?.downcast().ok())
    }

    /// Whether a filter is off here, if anything is said of it; what the most specific level says counts.
    pub fn disabled(&self, filter: &str) -> Option<bool> {
        self.levels.iter().rev().find_map(|level| level.disabled(filter))
    }

    /// Whether nothing is said of any filter.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The same with those of a more specific level, which stand in its field `typed_per_filter_config`.
    pub(super) fn and(
        &self,
        config: &TypedPerFilterConfig,
        path: &ConfigPath,
        context: &HttpFilterContext<'_>,
    ) -> Result<Self, BuildError> {
        let level = config.build(&path.field("typed_per_filter_config"), context)?;
        let mut levels = self.levels.clone();
        if !level.is_empty() {
            levels.push(Arc::new(level));
        }
        Ok(Self { levels })
    }
}
