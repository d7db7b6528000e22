//! The messages of `envoy.service.auth.v3`, as far as they are read and written here.
//! Names and numbers are those of Envoy's API; what is not named is skipped.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use prost::Message;

/// `envoy.service.auth.v3.CheckRequest`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) attributes: Option<Attributes>,
}

/// `AttributeContext`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub(crate) request: Option<Request>,
}

/// `AttributeContext.Peer`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Peer {
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
}

/// `envoy.config.core.v3.Address`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(crate) socket: Option<SocketAddress>,
}

/// `SocketAddress`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SocketAddress {
    #[prost(string, tag = "2")]
    pub(crate) address: String,
}

/// `AttributeContext.Request`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(message, optional, tag = "2")]
    pub(crate) http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpRequest {
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    /// Values of one name are joined by commas. On the wire a map is a list of its
    /// entries: what is only gone through once need not be a map.
    #[prost(message, repeated, tag = "3")]
    pub(crate) headers: Vec<Field>,
    /// Path and query.
    #[prost(string, tag = "4")]
    pub(crate) path: String,
}

/// An entry of `headers`. Its two strings are parts of the message that was read and
/// not copied out of it; whether they are a name and a value is seen when they
/// become a header.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Field {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `CheckResponse`. `denied` and `ok` are one of two, and never both here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<RpcStatus>,
    #[prost(message, optional, tag = "2")]
    pub(crate) denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    pub(crate) ok: Option<Allowed>,
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// `DeniedHttpResponse`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Denied {
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    pub(crate) body: String,
}

/// `envoy.type.v3.HttpStatus`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}

/// `OkHttpResponse`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Allowed {
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderOption>,
    #[prost(string, repeated, tag = "5")]
    pub(crate) headers_to_remove: Vec<String>,
}

/// `envoy.config.core.v3.HeaderValueOption`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<Header>,
    /// `HeaderAppendAction`
    #[prost(int32, tag = "3")]
    pub(crate) append_action: i32,
    #[prost(bool, tag = "4")]
    pub(crate) keep_empty_value: bool,
}

/// `envoy.config.core.v3.HeaderValue`
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// `APPEND_IF_EXISTS_OR_ADD`
const APPEND: i32 = 0;
/// `OVERWRITE_IF_EXISTS_OR_ADD`
const OVERWRITE: i32 = 2;
/// `google.rpc.Code`
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

impl CheckRequest {
    /// The address of the client, as Envoy sees it.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        let source = self.attributes.as_ref()?.source.as_ref()?;
        let socket = source.address.as_ref()?.socket.as_ref()?;
        socket.address.parse().ok()
    }

    /// The request that is asked about. One that is left out is empty, and so refused.
    pub(crate) fn into_http(self) -> HttpRequest {
        let request = self.attributes.and_then(|attributes| attributes.request);
        request.and_then(|request| request.http).unwrap_or_default()
    }
}

impl CheckResponse {
    /// Lets a request go on with `target`, `set` and without `headers_to_remove`.
    pub(crate) fn allow(set: &HeaderMap, target: String, headers_to_remove: Vec<String>) -> Self {
        let mut headers = options(set, OVERWRITE);
        // SECURITY: what goes on is the path that was decided on.
        headers.push(option(":path", target, OVERWRITE));
        Self {
            status: Some(RpcStatus { code: OK }),
            denied: None,
            ok: Some(Allowed {
                headers,
                headers_to_remove,
            }),
        }
    }

    /// Answers the client instead.
    pub(crate) fn deny(status: StatusCode, headers: &HeaderMap, body: String) -> Self {
        Self {
            status: Some(RpcStatus {
                code: PERMISSION_DENIED,
            }),
            denied: Some(Denied {
                status: Some(HttpStatus {
                    code: status.as_u16().into(),
                }),
                headers: options(headers, OVERWRITE),
                body,
            }),
            ok: None,
        }
    }
}

fn options(headers: &HeaderMap, action: i32) -> Vec<HeaderOption> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let option = |(name, value): (&http::HeaderName, _)| {
        // There may be two challenges.
        let action = if name == WWW_AUTHENTICATE {
            APPEND
        } else {
            action
        };
        option(name.as_str(), text(value), action)
    };
    headers.iter().map(option).collect()
}

fn option(key: &str, value: String, append_action: i32) -> HeaderOption {
    HeaderOption {
        header: Some(Header {
            key: key.to_owned(),
            value,
        }),
        append_action,
        // A header that is left out is one that a client can set.
        keep_empty_value: true,
    }
}
