//! `/logging`: the levels of the process's log.

use std::{fmt::Write as _, sync::Arc};

use underpass_core::admin::{Admin, AdminEndpoint, AdminRequest, AdminResponse};

use super::{AdminRegistry, AdminSources};
use crate::logging::{LogLevel, Logging, parse_components};

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

fn answer(logging: &Logging, request: &AdminRequest) -> AdminResponse {
    match change(logging, request) {
        Ok(()) => AdminResponse::text(list(logging)),
        Err(message) => AdminResponse::error(400, format!("error: {message}\n{}", list(logging))),
    }
}

fn change(logging: &Logging, request: &AdminRequest) -> Result<(), String> {
    let level = |text: &str| text.parse::<LogLevel>().map_err(|error| error.to_string());
    for (name, value) in &request.query {
        match name.as_str() {
            "level" => logging.set_all(level(value)?),
            "paths" => {
                let changes = parse_components(value).map_err(|error| error.to_string())?;
                logging.set(&changes).map_err(|error| error.to_string())?;
            }
            component => {
                logging.set(&[(component.to_owned(), level(value)?)]).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
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
        assert!(refused.body.starts_with(r#"error: unknown log level "loud""#), "{}", refused.body);
    }
}
