//! Puts the headers of an answer in order before it is sent: what is for the upstream's hop goes, and this proxy says who it
//! is (Envoy's `ConnectionManagerUtility::mutateResponseHeaders`).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use underpass_core::build_context::{BuildContext, BuildError};
use underpass_http::{
    RequestHead,
    inline_headers::{self, Side},
    request_id::RequestIdExtension,
};

use crate::{
    config::{HttpConnectionManager, ServerHeaderTransformation},
    request_headers::{RequestHeaders, append_via, via},
};

/// What is done to the headers of every answer.
pub(crate) struct ResponseHeaders {
    server_name: HeaderValue,
    server: ServerHeaderTransformation,
    via: Option<HeaderValue>,
    always_set_request_id: bool,
    request_id: Arc<dyn RequestIdExtension>,
}

impl ResponseHeaders {
    pub(crate) fn build(
        config: &HttpConnectionManager,
        requests: &RequestHeaders,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let server_name = HeaderValue::from_str(config.server_name_or_default())
            .map_err(|_| context.error_at("server_name", "is no value of a header"))?;
        Ok(Self {
            server_name,
            server: config.server_header_transformation,
            via: via(config, context)?,
            always_set_request_id: config.always_set_request_id_in_response,
            request_id: Arc::clone(&requests.request_id),
        })
    }

    /// Changes an answer. One that grants an upgrade keeps what says so.
    pub(crate) fn apply(&self, headers: &mut HeaderMap, grants_upgrade: bool, request: Option<&RequestHead>) {
        inline_headers::join_lines(Side::Response, headers);
        remove_hop_headers(headers, grants_upgrade);
        let overwrites = match self.server {
            ServerHeaderTransformation::Overwrite => true,
            ServerHeaderTransformation::AppendIfAbsent => !headers.contains_key(header::SERVER),
            ServerHeaderTransformation::PassThrough => false,
        };
        if overwrites {
            headers.insert(header::SERVER, self.server_name.clone());
        }
        if let Some(request) = request
            && (self.always_set_request_id || request.headers.contains_key("x-envoy-force-trace"))
        {
            self.request_id.set_in_response(headers, &request.headers);
        }
        if let Some(via) = &self.via {
            append_via(headers, via);
        }
    }
}

/// Takes out of an answer what is about the upstream connection only (RFC 9110, section 7.6.1).
fn remove_hop_headers(headers: &mut HeaderMap, keeps_upgrade: bool) {
    let any = headers.keys().any(|name| {
        matches!(
            name.as_str(),
            "connection" | "upgrade" | "transfer-encoding" | "keep-alive" | "proxy-connection"
        )
    });
    if !any {
        return;
    }
    if !keeps_upgrade {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

#[cfg(test)]
mod tests {
    use underpass_core::testing::TestServer;
    use underpass_http::testing::request;

    use super::*;
    use crate::config::tests::read;

    /// The headers of an answer to a request with these headers, sorted.
    fn after(config: &str, asked: &[(&str, &str)], answered: &[(&'static str, &'static str)]) -> Vec<String> {
        let config = read(config).unwrap();
        let settings = TestServer::default().build("", |context| {
            ResponseHeaders::build(&config, &RequestHeaders::build(&config, context)?, context)
        });
        let mut headers = HeaderMap::new();
        for (name, value) in answered {
            headers.append(*name, HeaderValue::from_static(value));
        }
        settings.unwrap().apply(&mut headers, false, Some(&request("GET", "/", asked)));
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn the_server_header_names_this_proxy_or_the_upstream() {
        let server = |config: &str, answered: &[_]| after(config, &[], answered).join(" ");
        let theirs = [("server", "theirs")];
        assert_eq!(server("", &theirs), "server: envoy");
        assert_eq!(server("server_name: ours", &theirs), "server: ours");
        assert_eq!(server("server_header_transformation: APPEND_IF_ABSENT", &theirs), "server: theirs");
        assert_eq!(server("server_header_transformation: APPEND_IF_ABSENT", &[]), "server: envoy");
        assert_eq!(server("server_header_transformation: PASS_THROUGH", &[]), "");
    }

    #[test]
    fn hop_headers_go_and_via_grows() {
        let answered = [
            ("connection", "keep-alive"),
            ("keep-alive", "1"),
            ("upgrade", "x"),
            ("via", "1.1 a"),
            ("via", "1.1 b"),
        ];
        assert_eq!(after("via: 1.1 me", &[], &answered), ["server: envoy", "via: 1.1 a,1.1 b, 1.1 me"]);
    }

    #[test]
    fn an_answer_has_its_request_s_id_where_that_is_asked_for() {
        let id = [("x-request-id", "7")];
        assert_eq!(after("", &id, &[]), ["server: envoy"]);
        assert_eq!(
            after("always_set_request_id_in_response: true", &id, &[]),
            ["server: envoy", "x-request-id: 7"]
        );
        let forced = [id[0], ("x-envoy-force-trace", "1")];
        assert_eq!(after("", &forced, &[]), ["server: envoy", "x-request-id: 7"]);
    }
}
