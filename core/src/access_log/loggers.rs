//! The access logs of one listener or filter: their filters and loggers, built.

use std::{fmt, sync::Arc};

use super::{
    AccessLogger, AccessLoggerConfig,
    config::{AccessLog, AccessLogFilter},
};
use crate::{
    build_context::{BuildContext, BuildError},
    formatter::FormatContext,
    runtime::Runtime,
};

/// What `access_log: [...]` becomes. Clones are the same loggers.
#[derive(Clone)]
pub struct AccessLogs {
    entries: Arc<[Entry]>,
    runtime: Arc<Runtime>,
}

struct Entry {
    filter: Option<AccessLogFilter>,
    logger: Arc<dyn AccessLogger>,
}

impl AccessLogs {
    /// Builds the loggers of a configuration.
    pub fn build(configs: &[AccessLog], context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let build_entry = |config: &AccessLog| {
            let logger = context.build(&config.typed_config, AccessLoggerConfig::build)?;
            Ok(Entry { filter: config.filter.clone(), logger })
        };
        let entries = configs.iter().map(build_entry).collect::<Result<_, BuildError>>()?;
        Ok(Self { entries, runtime: Arc::clone(&context.server.runtime) })
    }

    /// Whether there is none, so that nobody needs to prepare a log.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives a stream to each logger whose filter it passes.
    pub fn log(&self, context: &FormatContext<'_>) {
        if self.is_empty() {
            return;
        }
        let runtime = self.runtime.snapshot();
        for entry in &*self.entries {
            if entry.filter.as_ref().is_none_or(|filter| filter.passes(context, &runtime)) {
                entry.logger.log(context);
            }
        }
    }
}

impl fmt::Debug for AccessLogs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLogs").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
