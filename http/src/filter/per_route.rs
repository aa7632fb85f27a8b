//! What a route, a virtual host, a weighted cluster or a whole route configuration says of filters
//! (`typed_per_filter_config`).

use std::{any::Any, collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use underpass_core::{
    build_context::BuildError,
    config::{ConfigPath, OptionalTypedConfig},
    extension,
};

use super::{HttpFilterContext, RouteFilterConfig};

/// `typed_per_filter_config`: by the name of the filter in the chain, its configuration or a [`FilterConfig`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct TypedPerFilterConfig(BTreeMap<String, OptionalTypedConfig<dyn RouteFilterConfig>>);

/// `envoy.config.route.v3.FilterConfig`: a filter's configuration, with a word on whether it is used at all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct FilterConfig {
    /// The configuration; an empty one (`{}`) only turns the filter on.
    pub config: Option<OptionalTypedConfig<dyn RouteFilterConfig>>,
    /// Whether the configuration may be left out where its type is not implemented.
    pub is_optional: bool,
    /// Whether the filter is skipped.
    pub disabled: bool,
}

/// Turns filters on and off for a route.
#[extension(
    name = "envoy.config.route.filter_config",
    type_url = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
)]
impl RouteFilterConfig for FilterConfig {
    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Err(BuildError::new("a FilterConfig cannot stand in another one"))
    }

    fn as_filter_config(&self) -> Option<&FilterConfig> {
        Some(self)
    }
}

/// What one level of routes says of filters, built.
#[derive(Debug, Clone, Default)]
pub struct PerFilterConfigs {
    by_name: BTreeMap<Box<str>, PerFilterConfig>,
}

#[derive(Debug, Clone)]
struct PerFilterConfig {
    config: Option<Arc<dyn Any + Send + Sync>>,
    disabled: bool,
}

impl TypedPerFilterConfig {
    /// Builds what stands at `path`.
    ///
    /// # Errors
    /// What the configurations say; the other messages are Envoy's.
    pub fn build(
        &self,
        path: &ConfigPath,
        context: &HttpFilterContext<'_>,
    ) -> Result<PerFilterConfigs, BuildError> {
        let mut by_name = BTreeMap::new();
        for (name, config) in &self.0 {
            by_name.insert(name.as_str().into(), per_filter(name, config, path, context)?);
        }
        Ok(PerFilterConfigs { by_name })
    }
}

fn per_filter(
    name: &str,
    config: &OptionalTypedConfig<dyn RouteFilterConfig>,
    path: &ConfigPath,
    context: &HttpFilterContext<'_>,
) -> Result<PerFilterConfig, BuildError> {
    let OptionalTypedConfig::Known(typed) = config else {
        return built(name, config, false, context);
    };
    let Some(wrapper) = typed.as_filter_config() else {
        return built(name, config, false, context);
    };
    if wrapper.disabled {
        return Ok(PerFilterConfig { config: None, disabled: true });
    }
    match &wrapper.config {
        None => Err(BuildError::at(
            path.key(name),
            format!("Empty route/virtual host per filter configuration for {name} filter"),
        )),
        Some(OptionalTypedConfig::Unknown(raw)) if raw.type_name().is_empty() => {
            Ok(PerFilterConfig { config: None, disabled: false })
        }
        Some(config) => built(name, config, wrapper.is_optional, context),
    }
}

fn built(
    name: &str,
    config: &OptionalTypedConfig<dyn RouteFilterConfig>,
    is_optional: bool,
    context: &HttpFilterContext<'_>,
) -> Result<PerFilterConfig, BuildError> {
    let config = match config.required(&context.build.server.extensions) {
        Ok(config) => Some(context.build(config, name, RouteFilterConfig::build)?),
        Err(unknown) if is_optional => {
            let message = format!("the optional configuration of '{name}' is left out: {}", unknown.message);
            context.build.warn(BuildError { message, ..unknown });
            None
        }
        Err(unknown) => return Err(unknown),
    };
    Ok(PerFilterConfig { config, disabled: false })
}

impl PerFilterConfigs {
    /// What is said of the filter with this name, as [`RouteFilterConfig::build`] made it.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.by_name.get(name)?.config.as_ref()
    }

    /// Whether the filter with this name is turned off or on here. A filter that has a configuration is on.
    pub fn disabled(&self, name: &str) -> Option<bool> {
        self.by_name.get(name).map(|filter| filter.disabled)
    }

    /// Whether nothing is said of any filter.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }
}

#[cfg(test)]
mod tests;
