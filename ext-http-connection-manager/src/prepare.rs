//! What happens to a request before any filter sees it: it is checked and put in order.

use http::{HeaderValue, StatusCode, header};
use underpass_http::{HttpStream, Response, local_reply::local_reply, path_normalization::PathAction};

use crate::{
    exchange::Exchange,
    upgrade::{self, Allowed},
};

impl Exchange {
    /// Checks a request and changes its head; the answer, if it is refused.
    #[expect(clippy::result_large_err, reason = "it is passed on at once")]
    pub(crate) fn prepare(&self, stream: &HttpStream) -> Result<(), Response> {
        let settings = &self.connection().settings;
        let stats = &settings.stats;
        let (has_host, is_connect, path_is_relative) = {
            let head = stream.request();
            (!head.authority.is_empty(), head.is_connect(), head.path().starts_with('/'))
        };
        if !has_host {
            return Err(self.bad_request(stream, "missing_host_header"));
        }
        if !is_connect {
            if stream.request().path.is_none() {
                return Err(local_reply(stream, StatusCode::NOT_FOUND, "", "missing_path_rejected"));
            }
            if !path_is_relative {
                stats.downstream_rq_non_relative_path.inc();
                return Err(local_reply(stream, StatusCode::NOT_FOUND, "", "absolute_path_rejected"));
            }
        }
        let path = settings.path_normalization.apply(&mut stream.request_mut());
        if path != PathAction::Continue {
            return Err(self.path_answer(stream, path));
        }
        if settings.scheme_matches_upstream {
            stream.match_scheme_to_upstream();
        }
        let mut head = stream.request_mut();
        settings.host_normalization.apply(&mut head, stream.info.addresses.borrow().local());
        let routes = stream.routes();
        let internal_only = routes.as_ref().map_or(&[][..], |routes| routes.internal_only_headers());
        settings.request_headers.apply(&mut head, &stream.info, internal_only);
        Ok(())
    }

    /// Finds out whether a request that asks for an upgrade may have it.
    #[expect(clippy::result_large_err, reason = "it is passed on at once")]
    pub(crate) fn allow_upgrade(&self, stream: &HttpStream) -> Result<Allowed<'_>, Response> {
        let settings = &self.connection().settings;
        let wanted = upgrade::wanted(&stream.request());
        let Some(kind) = wanted else { return Ok(Allowed::No) };
        let route = stream.route();
        match settings.upgrades.allow(&kind, route.as_deref()) {
            Allowed::Yes(kind, filters) => {
                stream.allow_upgrade(kind.clone());
                self.upgrade_starts();
                Ok(Allowed::Yes(kind, filters))
            }
            // One that no route is for is answered like any request that no route is for.
            Allowed::No if route.is_none() => Ok(Allowed::No),
            Allowed::No => {
                settings.stats.downstream_rq_ws_on_non_ws_route.inc();
                Err(local_reply(stream, StatusCode::FORBIDDEN, "", "upgrade_failed"))
            }
        }
    }

    /// The answer to a request whose path is not as it should be.
    fn path_answer(&self, stream: &HttpStream, action: PathAction) -> Response {
        const DETAILS: &str = "path_normalization_failed";
        let stats = &self.connection().settings.stats;
        if action == PathAction::Reject {
            stats.downstream_rq_failed_path_normalization.inc();
            return self.bad_request(stream, DETAILS);
        }
        stats.downstream_rq_redirected_with_normalized_path.inc();
        let mut answer = local_reply(stream, StatusCode::TEMPORARY_REDIRECT, "", DETAILS);
        if let Ok(location) = HeaderValue::from_str(stream.request().path()) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        answer
    }

    /// Refuses a request that is not right. As who sends one may send anything, the connection ends, unless the
    /// configuration says that such an error is the stream's alone.
    fn bad_request(&self, stream: &HttpStream, details: &'static str) -> Response {
        if !self.connection().settings.codec.http1.stream_error_on_invalid_http_message {
            stream.close_after_answer();
        }
        local_reply(stream, StatusCode::BAD_REQUEST, "", details)
    }
}
