//! The filter at work.

use std::{borrow::Cow, rc::Rc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use underpass_core::{connection::BoxFuture, stat_group};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterContext, Next},
};

use crate::policy::{Mode, Policies};

/// <https://wicg.github.io/private-network-access/>.
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

const TRUE: HeaderValue = HeaderValue::from_static("true");

stat_group! {
    /// What it counts.
    struct CorsStats {
        counter origin_valid,
        counter origin_invalid,
    }
}

pub(crate) struct CorsFilter {
    name: Box<str>,
    stats: CorsStats,
}

/// A request from a page of another origin.
struct CrossOrigin {
    policies: Policies,
    /// None if it is not allowed.
    allowed_origin: Option<HeaderValue>,
}

impl CorsFilter {
    pub(crate) fn new(context: &HttpFilterContext<'_>) -> Self {
        Self { name: context.name.into(), stats: CorsStats::new(&context.scope("cors")) }
    }

    /// What there is to do for a request, if a policy counts for it.
    fn look(&self, stream: &HttpStream) -> Option<CrossOrigin> {
        let route = stream.route().filter(|route| route.forward().is_some())?;
        let policies = Policies::new(route.filter_configs.all(&self.name).collect());
        let mode = policies.mode();
        if mode == Mode::Off {
            return None;
        }
        let head = stream.request();
        let origin = head.headers.get(header::ORIGIN).filter(|origin| !origin.is_empty())?;
        let allowed = origin.to_str().is_ok_and(|origin| policies.allows(origin));
        if allowed { &self.stats.origin_valid } else { &self.stats.origin_invalid }.inc();
        let allowed_origin = allowed.then(|| origin.clone());
        (mode == Mode::Enabled).then_some(CrossOrigin { policies, allowed_origin })
    }
}

impl CrossOrigin {
    /// The answer to a preflight, if it is one and is not passed on.
    fn preflight(&self, stream: &HttpStream) -> Option<Response> {
        let head = stream.request();
        let asked = |name: HeaderName| head.headers.get(name).filter(|value| !value.is_empty());
        let method =
            asked(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| head.method == Method::OPTIONS)?;
        if self.allowed_origin.is_none() && self.policies.forward_not_matching() {
            return None;
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        self.allow(headers);
        // A star stands for what is asked for.
        let star = |value: &HeaderValue, asked: Option<&HeaderValue>| {
            if value == "*" { asked.cloned().unwrap_or(HeaderValue::from_static("")) } else { value.clone() }
        };
        if let Some(methods) = self.policies.methods() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, star(methods, Some(method)));
        }
        if let Some(allowed) = self.policies.headers() {
            let asked = asked(header::ACCESS_CONTROL_REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, star(allowed, asked));
        }
        if let Some(max_age) = self.policies.max_age() {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        let private = asked(REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true");
        if private && self.policies.private_network() {
            headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        stream.info.response_code.set(Some(200));
        *stream.info.details.response_code_details.borrow_mut() = Some(Cow::Borrowed("cors_response"));
        Some(response)
    }

    fn allow(&self, headers: &mut HeaderMap) {
        if let Some(origin) = &self.allowed_origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        if self.policies.credentials() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    /// What every answer says, that to a preflight too.
    fn finish(&self, mut response: Response) -> Response {
        if self.allowed_origin.is_some() {
            let headers = response.headers_mut();
            self.allow(headers);
            if let Some(expose) = self.policies.expose() {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
            }
        }
        response
    }
}

impl HttpFilter for CorsFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let Some(cross_origin) = self.look(stream) else { return next.run(stream, body) };
        Box::pin(async move {
            let response = match cross_origin.preflight(stream) {
                Some(answer) => next.reply(stream, answer),
                None => next.run(stream, body).await,
            };
            cross_origin.finish(response)
        })
    }
}
