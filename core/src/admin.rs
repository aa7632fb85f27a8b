//! The admin interface as extensions see it: endpoints and sections of `/config_dump`.

use std::collections::BTreeMap;

/// Where endpoints and sections are added. The engine serves them on a thread of its own.
pub trait Admin: Send + Sync {
    /// Adds an endpoint; one with the same path is replaced.
    fn add_endpoint(&self, endpoint: AdminEndpoint);

    /// Adds a section of `/config_dump`: a message with its `@type`, made when somebody asks.
    fn add_config_dump(&self, name: &'static str, section: Box<dyn Fn() -> serde_json::Value + Send + Sync>);
}

/// An endpoint of the admin interface.
pub struct AdminEndpoint {
    /// `/listeners`.
    pub path: &'static str,
    /// What `/help` says of it.
    pub help: &'static str,
    /// Its parameters, each with what `/help` says of it.
    pub parameters: &'static [(&'static str, &'static str)],
    /// Whether it changes something: then only POST is accepted.
    pub mutates: bool,
    /// Answers a request. Runs on the admin thread; must not wait.
    pub handle: Box<dyn Fn(&AdminRequest) -> AdminResponse + Send + Sync>,
}

impl AdminEndpoint {
    /// An endpoint that only shows something.
    pub fn show(
        path: &'static str,
        help: &'static str,
        handle: impl Fn(&AdminRequest) -> AdminResponse + Send + Sync + 'static,
    ) -> Self {
        Self { path, help, parameters: &[], mutates: false, handle: Box::new(handle) }
    }

    /// An endpoint that changes something.
    pub fn change(
        path: &'static str,
        help: &'static str,
        handle: impl Fn(&AdminRequest) -> AdminResponse + Send + Sync + 'static,
    ) -> Self {
        Self { mutates: true, ..Self::show(path, help, handle) }
    }

    /// Says which parameters it has.
    #[must_use]
    pub fn with_parameters(self, parameters: &'static [(&'static str, &'static str)]) -> Self {
        Self { parameters, ..self }
    }
}

/// A request to the admin interface.
#[derive(Debug, Clone, Default)]
pub struct AdminRequest {
    /// The parameters behind `?`, decoded; one without `=` has an empty value.
    pub query: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// The answer of an endpoint.
#[derive(Debug, Clone)]
pub struct AdminResponse {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl AdminRequest {
    /// A parameter; one without `=` is the empty text.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

impl AdminResponse {
    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: 200, content_type: "text/plain; charset=UTF-8", body: body.into() }
    }

    /// 200 with JSON, indented by one space as Envoy prints it.
    pub fn json(value: &serde_json::Value) -> Self {
        let mut body = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut body, formatter);
        let written = serde::Serialize::serialize(value, &mut serializer);
        debug_assert!(written.is_ok(), "a JSON value can always be written to memory");
        body.push(b'\n');
        let body = String::from_utf8_lossy(&body).into_owned();
        Self { status: 200, content_type: "application/json", body }
    }

    /// An error with plain text.
    pub fn error(status: u16, body: impl Into<String>) -> Self {
        Self { status, ..Self::text(body) }
    }
}
