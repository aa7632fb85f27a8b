//! `/logging`: the levels of the process's log.

use std::{fmt::Write as _, sync::Arc};

use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

use super::{AdminRegistry, AdminSources};
use crate::logging::{LogLevel, Logging};

pub(super) fn add(registry: &Arc<AdminRegistry>, sources: &Arc<AdminSources>) {
    let logging = Arc::clone(&sources.logging);
    let endpoint = AdminEndpoint::change("/logging", "query/change logging levels", move |request| {
        answer(&logging, request)
    });
    registry.add_endpoint(endpoint.with_parameters(&[
        ("paths", "change several levels: <component>:<level>,<component>:<level>"),
        ("level", "the level of all components"),
        ("<component>", "the level of one component"),
    ]));
}

/// What Envoy says after an error.
const USAGE: &str = "
usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
levels: trace debug info warning error critical off
";

fn answer(logging: &Logging, request: &AdminRequest) -> AdminResponse {
    match change(logging, request) {
        Ok(()) => AdminResponse::text(list(logging)),
        Err(message) => AdminResponse::error(400, format!("error: {message}\n{USAGE}{}", list(logging))),
    }
}

/// One parameter says one change; an empty value changes nothing. The messages are Envoy's.
fn change(logging: &Logging, request: &AdminRequest) -> Result<(), &'static str> {
    if request.query.len() > 1 {
        return Err("invalid number of parameters");
    }
    let Some((name, value)) = request.query.first_key_value().filter(|(_, value)| !value.is_empty()) else {
        return Ok(());
    };
    let level = |text: &str| text.parse::<LogLevel>().map_err(|_| "unknown logger level");
    let changes = match name.as_str() {
        "level" => {
            logging.set_all(level(value)?);
            return Ok(());
        }
        "paths" => {
            let pairs = value.split(',').filter(|pair| !pair.is_empty());
            let pairs = pairs.map(|pair| pair.split_once(':').unwrap_or_default());
            let change = |(name, text): (&str, &str)| match (name, text) {
                ("", _) | (_, "") => Err("empty logger name or empty logger level"),
                (name, text) => Ok((name.to_owned(), level(text)?)),
            };
            pairs.map(change).collect::<Result<Vec<_>, _>>()?
        }
        component => vec![(component.to_owned(), level(value)?)],
    };
    logging.set(&changes).map_err(|_| "unknown logger name")
}

fn list(logging: &Logging) -> String {
    let mut text = "active loggers:\n".to_owned();
    for (name, level) in logging.levels() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name}: {level}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::DEFAULT_FORMAT;

    fn ask(logging: &Logging, name: &str, value: &str) -> AdminResponse {
        let query = [(name.to_owned(), value.to_owned())].into();
        answer(logging, &AdminRequest { query, ..AdminRequest::default() })
    }

    #[test]
    fn levels_are_changed_and_listed() {
        let logging = Logging::install(LogLevel::Info, "", DEFAULT_FORMAT, false, None).unwrap();
        let listed = ask(&logging, "level", "warning").body;
        assert!(listed.starts_with("active loggers:\n  admin: warning\n"), "{listed}");
        assert!(ask(&logging, "paths", "upstream:debug,config:trace").body.contains("  upstream: debug\n"));
        assert!(ask(&logging, "main", "error").body.contains("  main: error\n"));
        let refused = ask(&logging, "main", "loud");
        assert_eq!(refused.status, 400);
        assert!(refused.body.starts_with("error: unknown logger level\n\nusage: "), "{}", refused.body);
        assert!(ask(&logging, "nobody", "info").body.starts_with("error: unknown logger name\n"));
        assert!(ask(&logging, "paths", "main").body.starts_with("error: empty logger name or empty"));
        assert_eq!(ask(&logging, "level", "").status, 200, "nothing to change");
    }
}
