//! The filter at work.

use std::{any::Any, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use underpass_core::{
    connection::BoxFuture,
    filter_state::{Entry, FilterStateObject, LifeSpan, SharedWithUpstream},
    response_flags::ResponseFlag,
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, Next},
    local_reply::local_reply_with_grpc_status,
};

use crate::{
    bucket::Bucket,
    limiter::{Limiter, Verdict},
    settings::Settings,
};

/// Where the limiter of a connection is kept, as in Envoy.
const OF_CONNECTION: &str = "per_connection_local_rate_limiter";

pub(crate) struct LocalRateLimitFilter {
    pub(crate) name: Box<str>,
    pub(crate) settings: Arc<Settings>,
}

/// The buckets of a connection.
struct OfConnection(Arc<Limiter>);

impl std::fmt::Debug for OfConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OfConnection")
    }
}

impl FilterStateObject for OfConnection {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the filter does with a request.
enum Decision {
    Pass { bucket: Option<Told> },
    Refuse(Response),
}

/// A bucket that answers tell of, and the limiter that it belongs to.
struct Told {
    bucket: Arc<Bucket>,
    limiter: Arc<Limiter>,
}

impl Told {
    fn tell(&self, headers: &mut HeaderMap) {
        let now = self.limiter.now();
        for (name, value) in [
            ("x-ratelimit-limit", self.bucket.max_tokens()),
            ("x-ratelimit-remaining", self.bucket.remaining(now)),
            ("x-ratelimit-reset", self.bucket.next_token(now)),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

fn limiter(settings: &Settings, stream: &HttpStream) -> Arc<Limiter> {
    if let Some(limiter) = &settings.limiter {
        return Arc::clone(limiter);
    }
    let mut state = stream.connection.info.filter_state.borrow_mut();
    if let Some(present) = state.get_as::<OfConnection>(OF_CONNECTION) {
        return Arc::clone(&present.0);
    }
    let limiter = Arc::new(Limiter::new(&settings.plan));
    let entry = Entry {
        object: Rc::new(OfConnection(Arc::clone(&limiter))),
        read_only: true,
        life_span: LifeSpan::Connection,
        shared_with_upstream: SharedWithUpstream::None,
    };
    // Nobody else uses the name; if somebody did, each request would have its own.
    let _ = state.set(OF_CONNECTION, entry);
    limiter
}

fn decide(settings: &Settings, stream: &HttpStream) -> Decision {
    if !settings.enabled.includes_this() {
        return Decision::Pass { bucket: None };
    }
    let stats = &settings.stats;
    stats.enabled.inc();
    let limiter = limiter(settings, stream);
    let Verdict { allowed, bucket } = limiter.ask(&settings.descriptors(stream));
    let shadow_mode = bucket.as_ref().is_some_and(|bucket| bucket.shadow_mode);
    let bucket = bucket.map(|bucket| Told { bucket, limiter });
    if allowed {
        stats.ok.inc();
        return Decision::Pass { bucket };
    }
    stats.rate_limited.inc();
    if shadow_mode {
        stats.shadow_mode.inc();
        return Decision::Pass { bucket };
    }
    if !settings.enforced.includes_this() {
        settings.not_enforced_headers.apply_to_request(&mut stream.request_mut(), &stream.info);
        return Decision::Pass { bucket };
    }
    stats.enforced.inc();
    let body = "local_rate_limited";
    let mut answer = local_reply_with_grpc_status(stream, settings.status, body, body, settings.grpc_status);
    let (status, request) = (answer.status(), stream.request());
    settings.response_headers.apply_to_response(answer.headers_mut(), status, &request, &stream.info);
    drop(request);
    stream.info.set_flag(ResponseFlag::RateLimited);
    if let Some(told) = &bucket {
        if settings.retry_after {
            let seconds = told.bucket.next_token(told.limiter.now());
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if settings.x_ratelimit_headers {
            told.tell(answer.headers_mut());
        }
    }
    Decision::Refuse(answer)
}

impl HttpFilter for LocalRateLimitFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        let settings = stream.route_config(&self.name).unwrap_or_else(|| Arc::clone(&self.settings));
        match decide(&settings, stream) {
            Decision::Refuse(answer) => Box::pin(std::future::ready(next.reply(stream, answer))),
            Decision::Pass { bucket: Some(told) } if settings.x_ratelimit_headers => Box::pin(async move {
                let mut response = next.run(stream, body).await;
                told.tell(response.headers_mut());
                response
            }),
            Decision::Pass { .. } => next.run(stream, body),
        }
    }
}
