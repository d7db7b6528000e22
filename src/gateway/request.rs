//! A request as it came over the wire, read into what is decided on.
//!
//! What could be read in two ways is refused here, before anything else is
//! asked: the decision and the upstream then see one and the same request.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderName, Method, Version};

use crate::gateway::refusal::Refusal;
use crate::gateway::upgrade;
use hardtack_token::{Asked, Credential, WEBSOCKET};

/// Gives a request of HTTP/2 the form that one of HTTP/1.1 has, so that whatever
/// follows reads one: `:authority` as `Host`, and one `Cookie` header (RFC 9113
/// sections 8.3.1 and 8.2.3).
pub(crate) fn in_one_form(parts: &mut Parts) {
    if parts.version != Version::HTTP_2 {
        return;
    }
    // SECURITY: a `Host` that is there stays, so that it is compared.
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    let mut cookies = parts.headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let mut whole = first.as_bytes().to_vec();
        for crumb in std::iter::once(second).chain(cookies) {
            whole.extend_from_slice(b"; ");
            whole.extend_from_slice(crumb.as_bytes());
        }
        // Parts of values, and what stands between them: a value.
        if let Ok(whole) = HeaderValue::from_bytes(&whole) {
            parts.headers.insert(COOKIE, whole);
        }
    }
}

/// The canonical path of a request target, or why there is none.
pub(crate) type Spelt<'a> = Result<Cow<'a, str>, &'static str>;

/// A request with one meaning.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    path: Cow<'a, str>,
    is_websocket: bool,
    credential: Credential<'a>,
    parts: &'a Parts,
}

impl<'a> Received<'a> {
    /// Reads the head of a request, whose path is spelt so.
    pub(crate) fn read(parts: &'a Parts, path: Spelt<'a>, has_body: bool) -> Result<Self, Refusal> {
        check_method(&parts.method)?;
        let path = path.map_err(Refusal::AmbiguousPath)?;
        check_names(parts)?;
        check_host(parts)?;
        let is_websocket = upgrade::is_websocket(parts);
        // SECURITY: an upstream could take the body for the first frames.
        if is_websocket && has_body {
            let why = "a request for a WebSocket has no body";
            return Err(Refusal::InvalidRequest(why.into()));
        }
        Ok(Self {
            path,
            is_websocket,
            credential: Credential::read(&parts.headers)?,
            parts,
        })
    }

    /// What the decision is about.
    pub(crate) fn asked(&self) -> Asked<'_> {
        let wire_method = self.parts.method.as_str();
        Asked {
            // SECURITY: an upgrade is a GET on the wire, and opens a channel
            // that can write.
            method: if self.is_websocket {
                WEBSOCKET
            } else {
                wire_method
            },
            path: &self.path,
            operation: None,
            wire_method,
            wire_path: self.parts.uri.path(),
            credential: self.credential,
        }
    }
}

/// SECURITY: some upstreams take `get` for `GET`, which a rule for `GET` does
/// not match; and no method on the wire passes for an upgrade.
pub(crate) fn check_method(method: &Method) -> Result<(), Refusal> {
    let text = method.as_str();
    let in_capitals = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if !text.bytes().all(in_capitals) || text == WEBSOCKET {
        return Err(Refusal::InvalidRequest(
            "the method is not one of HTTP, in capitals".into(),
        ));
    }
    if method == Method::CONNECT {
        return Err(Refusal::InvalidRequest(
            "this is not a forward proxy".into(),
        ));
    }
    Ok(())
}

pub(crate) fn check_names(parts: &Parts) -> Result<(), Refusal> {
    // SECURITY: CGI and its heirs read `X_Forwarded_For` as `X-Forwarded-For`.
    let has_underscore = |name: &&HeaderName| name.as_str().as_bytes().contains(&b'_');
    if let Some(name) = parts.headers.keys().find(has_underscore) {
        let why = format!("the name of the header `{name}` holds an underscore");
        return Err(Refusal::InvalidRequest(why.into()));
    }
    // SECURITY: which of the two counts differs between servers. Of a request on
    // the wire hyper has dropped the length by now, and closes after it.
    let has = |name| parts.headers.contains_key(name);
    if has(TRANSFER_ENCODING) && has(CONTENT_LENGTH) {
        return Err(Refusal::InvalidRequest(
            "there is both a Content-Length and a Transfer-Encoding".into(),
        ));
    }
    Ok(())
}

/// One `Host`, as RFC 9112 section 3.2 demands, and the same as in the target.
fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let invalid = |why: &'static str| Err(Refusal::InvalidRequest(why.into()));
    let mut hosts = parts.headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return invalid("there is more than one Host header");
    }
    let Some(host) = host else {
        return if parts.version == Version::HTTP_10 && parts.uri.authority().is_none() {
            Ok(())
        } else {
            invalid("there is no Host header")
        };
    };
    let of_a_host =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if !host.as_bytes().iter().all(of_a_host) {
        return invalid("the Host header holds no host");
    }
    match parts.uri.authority() {
        Some(authority)
            if !authority
                .as_str()
                .as_bytes()
                .eq_ignore_ascii_case(host.as_bytes()) =>
        {
            invalid("the Host header and the request target name different hosts")
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hardtack_token::path::canonical;
    use http::Request;
    use http::header::HeaderName;

    use super::*;

    fn read(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<String, &'static str> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request = request.header(name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let path = canonical(parts.uri.path());
        let received = Received::read(&parts, path, false).map_err(|refusal| refusal.code())?;
        let asked = received.asked();
        Ok(format!("{} {}", asked.method, asked.path))
    }

    const HOSTED: (&str, &str) = ("host", "gw.example:80");

    #[test]
    fn a_request_is_read_with_its_one_path() {
        assert_eq!(read("GET", "/%7Ex?..//", &[HOSTED]).unwrap(), "GET /~x");
        assert_eq!(read("M-SEARCH", "/x", &[HOSTED]).unwrap(), "M-SEARCH /x");
        let upgrade = [HOSTED, ("connection", "upgrade"), ("upgrade", "websocket")];
        assert_eq!(read("GET", "/x", &upgrade).unwrap(), "WEBSOCKET /x");
        assert_eq!(read("PUT", "/x", &upgrade).unwrap(), "PUT /x");
    }

    #[test]
    fn an_absolute_target_is_read_if_it_names_the_host() {
        let read = |target| read("GET", target, &[HOSTED]);
        assert_eq!(read("http://GW.example:80/x").unwrap(), "GET /x");
        assert_eq!(read("http://other/x"), Err("invalid_request"));
        assert_eq!(read("http://u@gw.example:80/x"), Err("invalid_request"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (method, target, headers, code) in [
            ("GET", "/a/../b", &[HOSTED][..], "ambiguous_path"),
            ("OPTIONS", "*", &[HOSTED], "ambiguous_path"),
            ("get", "/x", &[HOSTED], "invalid_request"),
            ("WEBSOCKET", "/x", &[HOSTED], "invalid_request"),
            ("CONNECT", "/x", &[HOSTED], "invalid_request"),
            ("GET", "/x", &[], "invalid_request"),
            ("GET", "/x", &[HOSTED, HOSTED], "invalid_request"),
            ("GET", "/x", &[("host", "a b")], "invalid_request"),
            ("GET", "/x", &[("host", "u@gw")], "invalid_request"),
            ("GET", "/x", &[HOSTED, ("x_user", "me")], "invalid_request"),
            (
                "PUT",
                "/x",
                &[
                    HOSTED,
                    ("content-length", "1"),
                    ("transfer-encoding", "chunked"),
                ],
                "invalid_request",
            ),
            (
                "GET",
                "/x",
                &[HOSTED, ("authorization", "Bearer a,b")],
                "duplicate_authorization",
            ),
        ] {
            assert_eq!(
                read(method, target, headers),
                Err(code),
                "{method} {target} {headers:?}"
            );
        }
    }
}
