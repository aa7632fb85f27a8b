//! What happens to a request before any filter sees it: it is checked and put in order.

use http::StatusCode;
use underpass_http::{HttpStream, Response, local_reply::local_reply};

use crate::{
    exchange::Exchange,
    upgrade::{self, Allowed},
};

impl Exchange {
    /// Checks a request and changes its head; the answer, if it is refused.
    pub(crate) fn prepare(&self, stream: &HttpStream) -> Result<(), Response> {
        let settings = &self.connection().settings;
        let stats = &settings.stats;
        let (has_host, is_connect, path_is_relative) = {
            let head = stream.request();
            (!head.authority.is_empty(), head.is_connect(), head.path().starts_with('/'))
        };
        if !has_host {
            return Err(local_reply(stream, StatusCode::BAD_REQUEST, "", "missing_host_header"));
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
        Ok(())
    }

    /// Finds out whether a request that asks for an upgrade may have it.
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
            // A CONNECT that no route is for is answered like any request that no route is for.
            Allowed::No if stream.request().is_connect() => Ok(Allowed::No),
            Allowed::No => {
                settings.stats.downstream_rq_ws_on_non_ws_route.inc();
                Err(local_reply(stream, StatusCode::FORBIDDEN, "", "upgrade_failed"))
            }
        }
    }
}
