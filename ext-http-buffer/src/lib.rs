//! `envoy.filters.http.buffer`: waits for a request's whole body before passing it on.
//!
//! ```yaml
//! - name: envoy.filters.http.buffer
//!   typed_config:
//!     "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
//!     max_request_bytes: 65536
//! ```
//!
//! A larger request is answered with 413, and counted in `http.<stat_prefix>.downstream_rq_too_large`. A request that did
//! not say how large it is says so upstream. With a route's `BufferPerRoute` the filter has another limit there, or does
//! nothing.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/buffer_filter>

mod body;

use std::{any::Any, rc::Rc, sync::Arc};

use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use underpass_core::{
    build_context::BuildError,
    config::{Ranged, required_one_of},
    connection::BoxFuture,
    extension,
    stats::Counter,
};
use underpass_http::{
    Body, HttpStream, Response,
    filter::{HttpFilter, HttpFilterConfig, HttpFilterContext, Next, RouteFilterConfig},
    local_reply::local_reply,
};

use self::body::{Buffered, buffer};

/// A number of bytes, of which there is at least one.
type MaxBytes = Ranged<u32, 1, { u32::MAX as u64 }>;

/// `envoy.extensions.filters.http.buffer.v3.Buffer`.
#[derive(Debug, Deserialize)]
pub struct Buffer {
    /// How large a body may be.
    pub max_request_bytes: MaxBytes,
}

/// `BufferPerRoute`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawBufferPerRoute")]
pub struct BufferPerRoute {
    /// The filter's configuration here; without, it does nothing.
    pub buffer: Option<Buffer>,
}

#[derive(Deserialize)]
struct RawBufferPerRoute {
    #[serde(default)]
    disabled: Option<bool>,
    #[serde(default)]
    buffer: Option<Buffer>,
}

impl TryFrom<RawBufferPerRoute> for BufferPerRoute {
    type Error = String;

    fn try_from(raw: RawBufferPerRoute) -> Result<Self, String> {
        let set = [("disabled", raw.disabled.is_some()), ("buffer", raw.buffer.is_some())];
        required_one_of("override", &set)?;
        Ok(Self { buffer: raw.buffer })
    }
}

/// Waits for whole requests.
#[extension(
    name = "envoy.filters.http.buffer",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
)]
impl HttpFilterConfig for Buffer {
    fn build(&self, context: &HttpFilterContext<'_>) -> Result<Arc<dyn HttpFilter>, BuildError> {
        Ok(Arc::new(BufferFilter {
            name: context.name.into(),
            limit: Limit(Some(self.max_request_bytes.get() as usize)),
            too_large: context.scope("").counter("downstream_rq_too_large"),
        }))
    }
}

/// Waits for whole requests of a route with another limit, or does not.
#[extension(
    name = "envoy.filters.http.buffer",
    type_url = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
)]
impl RouteFilterConfig for BufferPerRoute {
    fn build(&self, _: &HttpFilterContext<'_>) -> Result<Arc<dyn Any + Send + Sync>, BuildError> {
        Ok(Arc::new(Limit(self.buffer.as_ref().map(|buffer| buffer.max_request_bytes.get() as usize))))
    }
}

/// How large a body may be; none where the filter does nothing.
#[derive(Clone, Copy)]
struct Limit(Option<usize>);

struct BufferFilter {
    name: Box<str>,
    limit: Limit,
    too_large: Counter,
}

impl HttpFilter for BufferFilter {
    fn serve<'a>(
        &'a self,
        stream: &'a Rc<HttpStream>,
        body: Body,
        next: Next<'a>,
    ) -> BoxFuture<'a, Response> {
        if http_body::Body::is_end_stream(&body) {
            return next.run(stream, body);
        }
        let limit = stream.route_config::<Limit>(&self.name).map_or(self.limit, |limit| *limit);
        let Limit(Some(limit)) = limit else { return next.run(stream, body) };
        Box::pin(async move {
            match buffer(body, limit).await {
                Buffered::Whole(body, length) => {
                    say_length(stream, length);
                    next.run(stream, body).await
                }
                // The client is gone, or has lost its way; the upstream shall not see half a request.
                Buffered::Broken => {
                    stream.close_after_answer();
                    let details = "request_body_broken";
                    next.reply(stream, local_reply(stream, StatusCode::BAD_REQUEST, "", details))
                }
                Buffered::TooLarge => {
                    self.too_large.inc();
                    // What is left of the request is not read.
                    stream.close_after_answer();
                    let (status, text) = (StatusCode::PAYLOAD_TOO_LARGE, "Payload Too Large");
                    next.reply(stream, local_reply(stream, status, text, "request_payload_too_large"))
                }
            }
        })
    }
}

/// Puts the length of the body into the request's head, if it is not there.
fn say_length(stream: &HttpStream, length: u64) {
    let headers = &mut stream.request_mut().headers;
    if !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        headers.remove(header::TRANSFER_ENCODING);
    }
}

#[cfg(test)]
mod tests;
