//! The upgrade: the one HTTP request of a connection.

use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use crate::openclaw::OpenClaw;
use crate::web::peer::Peer;

/// The longest `Origin` that is kept, in bytes: more than any browser sends,
/// since a host name has at most 253.
const MAX_ORIGIN: usize = 280;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// The client's address, through proxies of ours.
    pub(super) address: IpAddr,
    /// The page that opened the socket, if a browser says so.
    pub(super) origin: Option<String>,
    /// How it came to here: `http` or `https`.
    pub(super) scheme: &'static str,
}

/// The answer to an upgrade, or to what is none.
pub(super) type Answer = Response<Full<Bytes>>;

/// The answer to whoever has too many connections that are not let in, unread.
pub(super) const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 15\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// The same to whoever comes through a proxy of ours.
pub(super) fn too_many() -> Answer {
    let text = "too many sockets of this address wait to be let in\n";
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS, text);
    let seconds = HeaderValue::from_static("15");
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}

impl OpenClaw {
    /// The client of a request.
    pub(super) fn visitor(&self, request: &Request<Incoming>, peer: Peer) -> Visitor {
        let origin = request.headers().get(ORIGIN);
        let origin = origin.and_then(|value| value.to_str().ok());
        let origin = origin.filter(|text| text.len() <= MAX_ORIGIN);
        Visitor {
            address: peer.client(request.headers(), &self.settings.trusted_proxies),
            origin: origin.map(str::to_owned),
            scheme: peer.scheme(),
        }
    }
}

/// The answer that turns a connection into a WebSocket, if that is asked for.
pub(super) fn accept(request: &Request<Incoming>) -> Result<Answer, Box<Answer>> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.version_mut() = request.version();
    *head.headers_mut() = request.headers().clone();
    if let Ok(response) = create_response(&head) {
        return Ok(response.map(|()| Full::default()));
    }
    let text = "this port speaks the OpenClaw gateway protocol, over WebSocket only\n";
    let mut answer = plain(StatusCode::UPGRADE_REQUIRED, text);
    let upgrade = HeaderValue::from_static("websocket");
    answer.headers_mut().insert(http::header::UPGRADE, upgrade);
    Err(Box::new(answer))
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(text));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    // One request a connection.
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(CONNECTION, close);
    answer
}
