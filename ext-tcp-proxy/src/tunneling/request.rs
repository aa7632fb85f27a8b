//! The request that opens a tunnel.

use http::{
    HeaderMap, HeaderValue, Method, Version,
    uri::{PathAndQuery, Scheme},
};
use underpass_core::{
    access_log::AccessLogType,
    build_context::{BuildContext, BuildError},
    formatter::{FormatContext, Formatter, Operators},
    stream_info::StreamInfo,
};
use underpass_http::{RequestHead, header_mutation::HeaderMutations};

use super::{TunnelingConfig, request_id::RequestId};

/// What every request that opens a tunnel of one filter looks like.
pub(crate) struct TunnelRequest {
    hostname: Formatter,
    /// The path of a POST; a CONNECT has none.
    post_path: Option<PathAndQuery>,
    id: Option<RequestId>,
    headers: HeaderMutations,
}

impl TunnelRequest {
    pub(crate) fn build(config: &TunnelingConfig, context: &BuildContext<'_>) -> Result<Self, BuildError> {
        let at = context.path().field("tunneling_config");
        let operators =
            Operators::linked().map_err(|error| BuildError::at(at.field("hostname"), error.to_string()))?;
        let hostname = Formatter::parse(&config.hostname, &operators)
            .map_err(|error| BuildError::at(at.field("hostname"), error.to_string()))?;
        if !config.use_post && !config.post_path.is_empty() {
            // Envoy's words.
            let message = "Can't set a post path when POST method isn't used";
            return Err(BuildError::at(at.field("post_path"), message));
        }
        let post_path = match (config.use_post, config.post_path.as_str()) {
            (false, _) => None,
            (true, "") => Some(PathAndQuery::from_static("/")),
            (true, path) => Some(path.parse().map_err(|error| {
                BuildError::at(at.field("post_path"), format!("{path:?} is not a path: {error}"))
            })?),
        };
        let headers = HeaderMutations::additions(&config.headers_to_add, &at.field("headers_to_add"))?;
        Ok(Self { hostname, post_path, id: RequestId::build(config, &at, context)?, headers })
    }

    /// Whether it is a POST.
    pub(crate) fn is_post(&self) -> bool {
        self.post_path.is_some()
    }

    /// The request for one connection; `None` if what the operators of `hostname` print cannot stand in a header.
    ///
    /// As in Envoy, what stands in `hostname` is not looked at: a proxy may understand more than `host:port`.
    pub(crate) fn head(&self, info: &StreamInfo, is_secure: bool) -> Option<RequestHead> {
        let context = FormatContext::new(info, AccessLogType::NotSet);
        let authority = HeaderValue::try_from(self.hostname.format(&context)).ok()?;
        let mut headers = HeaderMap::new();
        if let Some(id) = &self.id {
            id.set(&mut headers, info);
        }
        self.headers.apply(&mut headers, &context);
        Some(RequestHead {
            method: if self.is_post() { Method::POST } else { Method::CONNECT },
            scheme: if is_secure { Scheme::HTTPS } else { Scheme::HTTP },
            authority,
            path: self.post_path.clone(),
            headers,
            version: Version::HTTP_11,
        })
    }
}
