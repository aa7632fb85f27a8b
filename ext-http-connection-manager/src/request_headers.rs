//! Puts the headers of a request in order before any filter sees it: what is for one hop goes, what only this side may say
//! is not taken from outside, and who the client is, is written down.
//!
//! In the order of Envoy's `ConnectionManagerUtility::mutateRequestHeaders`; see
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers>.

mod client_address;
mod host;
mod internal;
mod local_address;
mod referer;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header, uri::Scheme};
use underpass_core::{
    address::Address,
    build_context::{BuildContext, BuildError},
    stream_info::StreamInfo,
};
use underpass_http::{
    RequestHead,
    inline_headers::{self, Side},
    request_id::{RequestIdExtension, RequestIdExtensionConfig, UuidRequestId},
};

use self::{client_address::ClientAddress, internal::InternalAddresses};
use crate::config::{ForwardClientCertDetails, HttpConnectionManager};

pub(crate) use self::host::HostNormalization;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const X_ENVOY_INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const X_ENVOY_EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const SERVICE_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-downstream-service-cluster");
const SERVICE_NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");

/// What is done to the headers of every request.
pub(crate) struct RequestHeaders {
    client_address: ClientAddress,
    internal_addresses: InternalAddresses,
    append_x_forwarded_port: bool,
    scheme: Option<Scheme>,
    user_agent: Option<UserAgent>,
    via: Option<HeaderValue>,
    generate_request_id: bool,
    preserve_external_request_id: bool,
    pub(crate) request_id: Arc<dyn RequestIdExtension>,
    forwards_client_cert: bool,
}

/// `add_user_agent`: the names of this process's cluster and node.
struct UserAgent {
    cluster: HeaderValue,
    node: Option<HeaderValue>,
}

impl RequestHeaders {
    pub(crate) fn build(
        config: &HttpConnectionManager,
        context: &BuildContext<'_>,
    ) -> Result<Self, BuildError> {
        let node = &context.server.node;
        let value = |text: &str, what: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| BuildError::new(format!("{what} {text:?} cannot stand in a header")))
        };
        let user_agent = if config.add_user_agent.unwrap_or(false) {
            let id = (!node.id.is_empty()).then(|| value(&node.id, "node.id"));
            Some(UserAgent { cluster: value(&node.cluster, "node.cluster")?, node: id.transpose()? })
        } else {
            None
        };
        Ok(Self {
            client_address: ClientAddress::new(config),
            internal_addresses: InternalAddresses::new(&config.internal_address_config),
            append_x_forwarded_port: config.append_x_forwarded_port,
            scheme: match config.scheme_header_transformation.scheme_to_overwrite.as_deref() {
                Some("https") => Some(Scheme::HTTPS),
                Some(_) => Some(Scheme::HTTP),
                None => None,
            },
            user_agent,
            via: via(config, context)?,
            generate_request_id: config.generate_request_id.unwrap_or(true),
            preserve_external_request_id: config.preserve_external_request_id,
            request_id: request_id(config, context)?,
            forwards_client_cert: config.forward_client_cert_details
                == ForwardClientCertDetails::AlwaysForwardOnly,
        })
    }

    /// Changes a request, and notes in `info` who the client is and what the request's id is. `internal_only` are further
    /// headers that requests from outside may not have.
    pub(crate) fn apply(&self, head: &mut RequestHead, info: &StreamInfo, internal_only: &[HeaderName]) {
        inline_headers::join_lines(Side::Request, &mut head.headers);
        if head.version == Version::HTTP_2 {
            inline_headers::join_cookies(&mut head.headers);
        }
        let present = Present::of(&head.headers);
        remove_hop_headers(&mut head.headers, present);
        if present.referer {
            referer::check(&mut head.headers);
        }
        let (mut remote, local) = {
            let addresses = info.addresses.borrow();
            (addresses.remote().clone(), addresses.local().clone())
        };
        let found = self.client_address.find(&mut head.headers, &remote);
        self.forwarded(head, &local);
        let internal = found.may_be_internal
            && found.address.as_ref().is_some_and(|address| self.internal_addresses.contain(address));
        if let Some(address) = found.address
            && address != remote
        {
            info.addresses.borrow_mut().set_remote(address.clone());
            remote = address;
        }
        let edge = !internal && self.client_address.use_remote_address;
        if internal {
            head.headers.insert(X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
        } else {
            internal::remove_headers(&mut head.headers, edge, present.envoy, internal_only);
        }
        self.introduce(&mut head.headers);
        if edge && let Some(address) = client_address::text(&remote) {
            head.headers.insert(X_ENVOY_EXTERNAL_ADDRESS, address);
        }
        if self.generate_request_id {
            self.request_id.set(&mut head.headers, edge, self.preserve_external_request_id);
        }
        *info.details.stream_id.borrow_mut() = self.request_id.get(&head.headers).map(str::to_owned);
        if !self.forwards_client_cert {
            // Without TLS no client has shown a certificate, so that there is nothing else to be said of one.
            head.headers.remove(X_FORWARDED_CLIENT_CERT);
        }
    }

    /// How the request came: by which scheme and to which port.
    fn forwarded(&self, head: &mut RequestHead, local: &Address) {
        let headers = &mut head.headers;
        // Behind no proxy that is trusted, the client has no say.
        let ours = self.client_address.use_remote_address && self.client_address.trusted_hops == 0;
        if ours || !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        if self.append_x_forwarded_port
            && (ours || !headers.contains_key(X_FORWARDED_PORT))
            && let Address::Socket(local) = local
        {
            headers.insert(X_FORWARDED_PORT, HeaderValue::from(local.port()));
        }
        if let Some(scheme) = &self.scheme {
            let value = if *scheme == Scheme::HTTPS { "https" } else { "http" };
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(value));
            head.scheme = scheme.clone();
        } else if head.version < Version::HTTP_2
            && head.scheme == Scheme::HTTP
            && headers[X_FORWARDED_PROTO].as_bytes().eq_ignore_ascii_case(b"https")
        {
            // HTTP/1 says nothing of the scheme.
            head.scheme = Scheme::HTTPS;
        }
    }

    /// Who passes the request on.
    fn introduce(&self, headers: &mut HeaderMap) {
        if let Some(UserAgent { cluster, node }) = &self.user_agent {
            headers.insert(SERVICE_CLUSTER, cluster.clone());
            if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
                headers.insert(header::USER_AGENT, cluster.clone());
            }
            if let Some(node) = node {
                headers.insert(SERVICE_NODE, node.clone());
            }
        }
        if let Some(via) = &self.via {
            append_via(headers, via);
        }
    }
}

/// Which headers a request has that something is to be done about; most have none of them.
#[derive(Clone, Copy, Default)]
struct Present {
    connection: bool,
    upgrade: bool,
    keep_alive: bool,
    te: bool,
    referer: bool,
    /// Any whose name begins with `x-envoy-`.
    envoy: bool,
}

impl Present {
    fn of(headers: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => present.connection = true,
                "upgrade" => present.upgrade = true,
                "keep-alive" | "proxy-connection" | "transfer-encoding" => present.keep_alive = true,
                "te" => present.te = true,
                "referer" => present.referer = true,
                name => present.envoy |= name.starts_with("x-envoy-"),
            }
        }
        present
    }
}

/// Removes what is for this hop alone. An upgrade passes as it is.
fn remove_hop_headers(headers: &mut HeaderMap, present: Present) {
    if (present.connection || present.upgrade) && !is_upgrade(headers) {
        headers.remove(header::CONNECTION);
        headers.remove(header::UPGRADE);
    }
    if present.keep_alive {
        headers.remove("keep-alive");
        headers.remove("proxy-connection");
        headers.remove(header::TRANSFER_ENCODING);
    }
    if present.envoy {
        headers.remove(X_ENVOY_INTERNAL);
    }
    if present.te
        && let Some(te) = headers.get(header::TE).filter(|te| !te.is_empty())
    {
        // Nothing else can be promised for the next hop.
        let trailers =
            te.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii() == b"trailers");
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(header::TE);
        }
    }
}

/// Whether a message asks for an upgrade, or grants one.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let token = |value: &HeaderValue| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    headers.contains_key(header::UPGRADE) && headers.get(header::CONNECTION).is_some_and(token)
}

/// Adds this proxy to those that a message came through (RFC 9110, section 7.6.3).
pub(crate) fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    let joined = headers.get(header::VIA).filter(|before| !before.is_empty()).and_then(|before| {
        HeaderValue::from_bytes(&[before.as_bytes(), via.as_bytes()].join(&b", "[..])).ok()
    });
    headers.insert(header::VIA, joined.unwrap_or_else(|| via.clone()));
}

/// This proxy's entry in `via`.
pub(crate) fn via(
    config: &HttpConnectionManager,
    context: &BuildContext<'_>,
) -> Result<Option<HeaderValue>, BuildError> {
    let via = (!config.via.is_empty()).then(|| HeaderValue::from_str(&config.via));
    via.transpose().map_err(|_| context.error_at("via", "is no value of a header"))
}

fn request_id(
    config: &HttpConnectionManager,
    context: &BuildContext<'_>,
) -> Result<Arc<dyn RequestIdExtension>, BuildError> {
    let extension = config.request_id_extension.as_ref().and_then(|it| it.typed_config.as_ref());
    match extension {
        Some(extension) => context.build(extension, RequestIdExtensionConfig::build),
        None => Ok(Arc::new(UuidRequestId::default())),
    }
}

#[cfg(test)]
mod tests;
