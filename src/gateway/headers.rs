//! What becomes of headers on their way through.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::gateway::identity::{self, Identity};
use crate::gateway::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::{trailers, upgrade};
use crate::web::peer::{Peer, X_FORWARDED_FOR, X_FORWARDED_PROTO};
use hardtack_token::DPOP;

static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What concerns one connection only (RFC 9110 section 7.6.1). `TE` and `Trailer`
/// are said anew for trailers.
static HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Headers by which some upstreams take another path or method than those of
/// the request line, which are what was decided on.
const OVERRIDES: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// What a request is sent on with.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) identity: Identity,
    pub(crate) id: &'a RequestId,
    pub(crate) peer: Peer,
    /// Where the request came from: the peer's address.
    pub(crate) address: HeaderValue,
    /// The `Host` of the upstream.
    pub(crate) host: &'a HeaderValue,
    /// Whether it has to be said that there is a body: its length is not known,
    /// and its method is one of those that hyper takes for having none.
    pub(crate) is_unframed: bool,
    pub(crate) is_websocket: bool,
}

impl Outgoing<'_> {
    /// Turns the headers that the client sent into those that the upstream gets.
    ///
    /// `Host` becomes the upstream's, since the decision does not look at it: a
    /// client could else choose another site of the same server. The client's is
    /// in `X-Forwarded-Host`.
    pub(crate) fn rewrite(self, headers: &mut HeaderMap) {
        let trusted = self.peer.trusted;
        // Read before anything is removed: a client must not have its own
        // address forgotten by nominating the header.
        let forwarded_for = forwarded_for(headers, trusted, self.address);
        let kept = |headers: &HeaderMap, name| headers.get(name).filter(|_| trusted).cloned();
        let proto = kept(headers, &X_FORWARDED_PROTO)
            .unwrap_or(HeaderValue::from_static(self.peer.scheme()));
        let host = kept(headers, &X_FORWARDED_HOST).or_else(|| headers.get(HOST).cloned());

        let takes_trailers = upgrade::lists(headers, &TE, "trailers");
        let trailers = trailers::announced(headers);

        remove(headers, |name| {
            let text = name.as_str();
            // SECURITY: our credential is for us. An upstream that got it could use it.
            *name == AUTHORIZATION
                || *name == DPOP
                // Answered here: the client is told to go on when its body is wanted.
                || *name == EXPECT
                || text.starts_with(identity::PREFIX)
                || OVERRIDES.contains(&text)
                || (!trusted && is_forwarding(text))
        });

        // Where there is no room, each makes its own.
        headers.try_reserve(10).ok();
        // INVARIANT: what is set here is set after all removals, so that nothing
        // a client sends or nominates has an effect on it.
        headers.insert(&X_FORWARDED_FOR, forwarded_for);
        headers.insert(&X_FORWARDED_PROTO, proto);
        match host {
            Some(host) => headers.insert(&X_FORWARDED_HOST, host),
            None => headers.remove(&X_FORWARDED_HOST),
        };
        headers.insert(HOST, self.host.clone());
        headers.insert(&X_REQUEST_ID, self.id.value().clone());
        self.identity.set(headers, self.id);
        if self.is_websocket {
            upgrade::set(headers);
            return;
        }
        if self.is_unframed && !headers.contains_key(CONTENT_LENGTH) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // gRPC asks for it. `Connection: TE` would belong beside it over HTTP/1.1,
        // but whether it goes on over that is not known before it does.
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(trailers) = trailers {
            headers.insert(TRAILER, trailers);
        }
    }
}

/// Turns the headers that the upstream sent into those that the client gets.
pub(crate) fn rewrite_answer(headers: &mut HeaderMap) {
    // SECURITY: the length is wrong then, and the client would take the rest for
    // the answer to its next request (RFC 9112 section 6.3).
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let trailers = trailers::announced(headers);
    remove(headers, |name| name.as_str().starts_with(identity::PREFIX));
    if let Some(trailers) = trailers {
        headers.insert(TRAILER, trailers);
    }
}

/// Whether a header is nothing that a client may say to an upstream: our
/// credential, an identity, another request, a way that it came.
pub(crate) fn is_ours(name: &str) -> bool {
    name == AUTHORIZATION.as_str()
        || name == DPOP.as_str()
        || name.starts_with(identity::PREFIX)
        || OVERRIDES.contains(&name)
        || name.starts_with("x-original-")
        || is_forwarding(name)
}

pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

fn is_forwarding(name: &str) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.starts_with("x-forwarded-")
}

fn forwarded_for(headers: &HeaderMap, trusted: bool, address: HeaderValue) -> HeaderValue {
    let before = headers.get_all(&X_FORWARDED_FOR).iter();
    let mut list: Vec<u8> = Vec::new();
    for hop in before.filter(|_| trusted) {
        list.extend_from_slice(hop.as_bytes());
        list.extend_from_slice(b", ");
    }
    if list.is_empty() {
        return address;
    }
    list.extend_from_slice(address.as_bytes());
    HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static(""))
}

/// Removes what concerns one connection only, what `Connection` says does, and
/// what is not wanted.
///
/// The names that are there are looked at, each once: to ask the map for every
/// name that might be there would hash them all.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let nominated = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.eq_ignore_ascii_case(b"close"))
        .filter_map(|name| HeaderName::from_bytes(name).ok());
    let named = headers.keys();
    let named = named.filter(|name| is_hop_by_hop(name) || unwanted(name));
    let found: Vec<HeaderName> = named.cloned().chain(nominated).collect();
    for name in found {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::listener::Came;

    fn rewritten(peer: &str, sent: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.append(HOST, HeaderValue::from_static("gw.example"));
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let outgoing = Outgoing {
            identity: Identity::nobody(),
            id: &RequestId::fixed("id-1"),
            peer: Peer::new(
                Came::plain(peer.parse().unwrap()),
                &["10.0.0.0/8".parse().unwrap()],
            ),
            address: HeaderValue::from_str(peer).unwrap(),
            host: &HeaderValue::from_static("up:8080"),
            is_unframed: false,
            is_websocket: false,
        };
        outgoing.rewrite(&mut headers);
        lines(&headers)
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let mut lines: Vec<String> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    const BARE: [&str; 11] = [
        "host: up:8080",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: gw.example",
        "x-forwarded-proto: http",
        "x-hardtack-device: ",
        "x-hardtack-grant: ",
        "x-hardtack-request-id: id-1",
        "x-hardtack-role: ",
        "x-hardtack-scopes: ",
        "x-hardtack-service: ",
        "x-request-id: id-1",
    ];

    #[test]
    fn what_a_client_must_not_say_is_gone() {
        let sent = [
            ("authorization", "Bearer secret"),
            ("dpop", "proof"),
            ("x-hardtack-device", "mallory"),
            ("x-hardtack-device", "mallory"),
            ("x-hardtack-anything", "mallory"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "6.6.6.6"),
            ("x-request-id", "mine"),
            ("x-original-url", "/evil"),
            ("x-http-method-override", "DELETE"),
            ("expect", "100-continue"),
        ];
        assert_eq!(rewritten("192.0.2.1", &sent), BARE);
    }

    #[test]
    fn what_concerns_one_connection_is_gone() {
        let sent = [
            ("connection", "close, x-mine, X-Forwarded-For"),
            ("connection", "X-Hardtack-Scopes,host,,@"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
            ("proxy-authorization", "1"),
            ("te", "gzip"),
            ("trailer", "x-hardtack-device, host"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "1"),
        ];
        assert_eq!(rewritten("192.0.2.1", &sent), BARE);
    }

    #[test]
    fn trailers_are_asked_for_and_announced_if_the_client_does() {
        let sent = [
            ("connection", "te, trailer"),
            ("te", "deflate, trailers"),
            ("trailer", "x-sum, x-hardtack-role"),
        ];
        let lines = rewritten("192.0.2.1", &sent);
        let asked: Vec<_> = lines.iter().filter(|line| line.starts_with('t')).collect();
        assert_eq!(asked, ["te: trailers", "trailer: x-sum"]);
    }

    #[test]
    fn a_trusted_proxys_word_is_passed_on_and_added_to() {
        let sent = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "public.example"),
            ("forwarded", "for=192.0.2.7"),
            ("connection", "x-forwarded-for"),
            ("x-hardtack-device", "mallory"),
        ];
        let lines = rewritten("10.0.0.1", &sent);
        for expected in [
            "x-forwarded-for: 6.6.6.6, 192.0.2.7, 10.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-host: public.example",
            "forwarded: for=192.0.2.7",
            "x-hardtack-device: ",
        ] {
            assert!(lines.iter().any(|line| line == expected), "{lines:?}");
        }
    }

    #[test]
    fn an_answer_loses_what_the_upstream_must_not_say() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("x-hardtack-scopes", "*"),
            ("content-length", "3"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        rewrite_answer(&mut headers);
        assert_eq!(lines(&headers), ["content-length: 3"]);
    }
}
