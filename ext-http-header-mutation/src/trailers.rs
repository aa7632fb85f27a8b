//! Bodies whose trailers are changed as they pass.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use underpass_core::{access_log::AccessLogType, formatter::FormatContext};
use underpass_http::{Body, BodyError, HttpStream, message_headers::MessageHeaders};

use crate::Mutations;

/// Whose trailers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trailers {
    Request,
    Response,
}

/// The same body, but its trailers, if it has some, are changed.
pub(crate) fn with_trailers(
    body: Body,
    stream: &Rc<HttpStream>,
    whose: Trailers,
    mutations: Vec<Arc<Mutations>>,
) -> Body {
    if mutations.is_empty() || body.is_tunnel() || http_body::Body::is_end_stream(&body) {
        return body;
    }
    Body::boxed(ChangesTrailers { body, stream: Rc::clone(stream), whose, mutations })
}

struct ChangesTrailers {
    body: Body,
    stream: Rc<HttpStream>,
    whose: Trailers,
    mutations: Vec<Arc<Mutations>>,
}

impl ChangesTrailers {
    fn change(&self, trailers: &mut HeaderMap) {
        let request = self.stream.request();
        // While a list is applied operators see the trailers as they came.
        for mutations in &self.mutations {
            let came = trailers.clone();
            let headers = MessageHeaders::of_request(&request);
            let (list, headers) = match self.whose {
                Trailers::Request => (&mutations.request_trailers, headers),
                Trailers::Response => {
                    (&mutations.response_trailers, headers.with_response_trailers(Some(&came)))
                }
            };
            let context = FormatContext {
                info: &self.stream.info,
                access_log_type: AccessLogType::NotSet,
                headers: Some(&headers),
            };
            list.apply(trailers, &context);
        }
    }
}

impl http_body::Body for ChangesTrailers {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            self.change(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
