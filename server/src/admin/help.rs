//! `/help` and the page at `/`.

use std::{fmt::Write as _, sync::Arc};

use underpass_core::admin::{Admin, AdminEndpoint, AdminResponse};

use super::AdminRegistry;

pub(super) fn add(registry: &Arc<AdminRegistry>) {
    let weak = Arc::downgrade(registry);
    registry.add_endpoint(AdminEndpoint::show("/help", "print out list of admin commands", move |_| {
        AdminResponse::text(weak.upgrade().map(|registry| registry.help()).unwrap_or_default())
    }));
    let weak = Arc::downgrade(registry);
    registry.add_endpoint(AdminEndpoint::show("/", "Admin home page", move |_| AdminResponse {
        content_type: "text/html; charset=UTF-8",
        ..AdminResponse::text(weak.upgrade().map(|registry| registry.home_page()).unwrap_or_default())
    }));
}

impl AdminRegistry {
    pub(super) fn help(&self) -> String {
        let mut text = "admin commands are:\n".to_owned();
        for endpoint in self.endpoints() {
            let post = if endpoint.mutates { " (POST)" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {}{post}: {}", endpoint.path, endpoint.help);
            for (name, help) in endpoint.parameters {
                let _ = writeln!(text, "      {name}: {help}");
            }
        }
        text
    }

    fn home_page(&self) -> String {
        let mut rows = String::new();
        for endpoint in self.endpoints() {
            let (path, help) = (endpoint.path, endpoint.help);
            let command = if endpoint.mutates {
                format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
            } else {
                format!("<a href=\"{path}\">{path}</a>")
            };
            let _ = writeln!(rows, "<tr><td>{command}</td><td>{help}</td></tr>");
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Underpass admin</title></head>\n\
             <body><h1>Underpass</h1>\n<table>\n<thead><tr><th>Command</th><th>Description</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table></body></html>\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use underpass_core::admin::AdminRequest;

    use super::*;

    fn registry() -> Arc<AdminRegistry> {
        let registry = Arc::new(AdminRegistry::default());
        add(&registry);
        let stop = AdminEndpoint::change("/stop", "stop it", |_| AdminResponse::text("OK\n"));
        registry.add_endpoint(stop.with_parameters(&[("now", "at once")]));
        registry
    }

    #[test]
    fn help_lists_commands_with_their_parameters() {
        let help = registry().answer("GET", "/help", &AdminRequest::default()).body;
        insta::assert_snapshot!(help, @r"
        admin commands are:
          /: Admin home page
          /help: print out list of admin commands
          /stop (POST): stop it
              now: at once
        ");
    }

    #[test]
    fn a_command_that_changes_something_wants_post() {
        let refused = registry().answer("GET", "/stop", &AdminRequest::default());
        assert_eq!((refused.status, refused.body.as_str()), (405, "Method GET not allowed, POST required."));
        assert_eq!(registry().answer("POST", "/stop", &AdminRequest::default()).body, "OK\n");
    }

    #[test]
    fn an_unknown_path_gets_the_help() {
        let unknown = registry().answer("GET", "/nope", &AdminRequest::default());
        assert_eq!(unknown.status, 404);
        assert!(unknown.body.starts_with("invalid path. admin commands are:\n"));
    }
}
