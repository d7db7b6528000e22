//! The request that a proxy asks about, read from the headers of its convention.

use std::borrow::Cow;

use hardtack_token::path::canonical;
use hardtack_token::{Asked, Credential};
use http::Method;
use http::header::{HeaderMap, HeaderName};
use http::request::Parts;

use super::Convention;
use crate::domain::policy::WEBSOCKET;
use crate::gateway::refusal::Refusal;
use crate::gateway::request::{check_method, check_names};
use crate::gateway::upgrade;

/// What a client sends to open a WebSocket (RFC 6455 section 4.1), beside `Upgrade`.
static SEC_WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");

/// A request with one meaning, which somebody else has received.
#[derive(Debug)]
pub(crate) struct Original<'a> {
    method: Method,
    path: Cow<'a, str>,
    wire_path: &'a str,
    query: Option<&'a str>,
    is_websocket: bool,
    credential: Credential<'a>,
}

/// What is said of a request, before anything of it is checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stated<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// What it is to be upgraded to; empty if to nothing.
    pub(crate) upgrade: &'a str,
}

impl<'a> Original<'a> {
    /// Reads the headers of a convention, and no others of their kind.
    ///
    /// SECURITY: proxies pass on what a client says in another's convention. So
    /// nothing is looked for in a second place.
    pub(crate) fn read(convention: Convention, parts: &'a Parts) -> Result<Self, Refusal> {
        check_names(parts)?;
        let headers = &parts.headers;
        let stated = Stated {
            method: one(headers, convention.method())?
                .ok_or_else(|| missing(convention.method()))?,
            target: one(headers, convention.uri())?.ok_or_else(|| missing(convention.uri()))?,
            upgrade: match convention.upgrade() {
                Some(name) => one(headers, name)?.unwrap_or_default(),
                None if upgrade::is_websocket(parts) => "websocket",
                None => "",
            },
        };
        Self::of(stated, headers)
    }

    /// Checks what is said of a request that came with these headers.
    pub(crate) fn of(stated: Stated<'a>, headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let method = Method::from_bytes(stated.method.as_bytes());
        let method = method.map_err(|_| invalid("the method is not one of HTTP"))?;
        check_method(&method)?;
        let (path, query) = split(stated.target)?;
        Ok(Self {
            is_websocket: is_websocket(&stated, &method, headers)?,
            method,
            path: canonical(path).map_err(Refusal::AmbiguousPath)?,
            wire_path: path,
            query,
            credential: Credential::read(headers)?,
        })
    }

    /// What the decision is about.
    pub(crate) fn asked(&self) -> Asked<'_> {
        let wire_method = self.method.as_str();
        Asked {
            method: if self.is_websocket {
                WEBSOCKET
            } else {
                wire_method
            },
            path: &self.path,
            operation: None,
            wire_method,
            wire_path: self.wire_path,
            credential: self.credential,
        }
    }

    /// The canonical path, and the query as it came.
    pub(crate) fn target(&self) -> String {
        match self.query {
            Some(query) => [&self.path, "?", query].concat(),
            None => self.path.as_ref().to_owned(),
        }
    }
}

/// The value of a header that is there at most once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(invalid(format!("the header `{name}` is not ASCII"))),
        },
        // SECURITY: which of the two is the proxy's, and which the client's?
        (Some(_), Some(_)) => Err(invalid(format!("there is more than one header `{name}`"))),
    }
}

fn missing(name: &HeaderName) -> Refusal {
    invalid(format!(
        "the proxy does not say what it asks about: there is no header `{name}` (see docs/forward-auth.md)"
    ))
}

fn invalid(why: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::InvalidRequest(why.into())
}

/// Path and query of a request target.
fn split(target: &str) -> Result<(&str, Option<&str>), Refusal> {
    // SECURITY: nginx ends the path that it serves there, and says all of it.
    if target.contains('#') {
        return Err(Refusal::AmbiguousPath("the request target holds a `#`"));
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    // It is given back to be sent on, and must not end the request line there.
    if query.is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(invalid("the query holds what must be escaped"));
    }
    Ok((path, query))
}

/// SECURITY: an upgrade is a GET on the wire, and opens a channel that can write.
fn is_websocket(
    stated: &Stated<'_>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<bool, Refusal> {
    if stated.upgrade.is_empty() {
        // A proxy that says nothing of upgrades may make them all the same.
        return if headers.contains_key(&SEC_WEBSOCKET_KEY) {
            Err(invalid(
                "there is a `Sec-WebSocket-Key`, and the proxy does not say that the request is an upgrade",
            ))
        } else {
            Ok(false)
        };
    }
    if !stated.upgrade.eq_ignore_ascii_case("websocket") {
        return Err(invalid("an upgrade is to a WebSocket, or refused"));
    }
    if method != Method::GET {
        return Err(invalid("a request for a WebSocket is a GET"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn read(convention: Convention, sent: &[(&str, &str)]) -> String {
        let mut request = Request::builder().uri("/forward-auth/x?q=2");
        for (name, value) in sent {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match Original::read(convention, &parts) {
            Ok(original) => {
                let asked = original.asked();
                format!("{} {} {}", asked.method, asked.path, original.target())
            }
            Err(why) => why.code().to_owned(),
        }
    }

    fn nginx(method: &str, uri: &str, upgrade: &str) -> String {
        let sent = [
            ("x-original-method", method),
            ("x-original-uri", uri),
            ("x-original-upgrade", upgrade),
        ];
        read(Convention::Nginx, &sent)
    }

    #[test]
    fn each_convention_has_its_own_headers_and_no_others() {
        let all = [
            ("x-original-method", "PUT"),
            ("x-original-uri", "/nginx"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/others?a=%2e"),
            ("x-original-url", "/evil"),
            ("x-rewrite-url", "/evil"),
        ];
        assert_eq!(read(Convention::Nginx, &all), "PUT /nginx /nginx");
        for convention in [Convention::Traefik, Convention::Caddy] {
            let others = "POST /others /others?a=%2e";
            assert_eq!(read(convention, &all), others);
            assert_eq!(read(convention, &all[..2]), "invalid_request");
        }
        assert_eq!(read(Convention::Nginx, &all[2..]), "invalid_request");
    }

    #[test]
    fn what_is_said_twice_or_not_at_all_is_refused() {
        let said = [("x-original-method", "GET"), ("x-original-uri", "/x")];
        assert_eq!(read(Convention::Nginx, &said), "GET /x /x");
        for again in said.iter().chain(&[("x-original-upgrade", "")]) {
            let twice = [&said[..], &[*again, ("x-original-upgrade", "")]].concat();
            assert_eq!(read(Convention::Nginx, &twice), "invalid_request");
        }
        for only in said {
            assert_eq!(read(Convention::Nginx, &[only]), "invalid_request");
        }
    }

    #[test]
    fn an_upgrade_is_a_method_of_its_own_and_to_a_websocket() {
        assert_eq!(nginx("GET", "/x", "websocket"), "WEBSOCKET /x /x");
        assert_eq!(nginx("GET", "/x", "WebSocket"), "WEBSOCKET /x /x");
        assert_eq!(nginx("GET", "/x", ""), "GET /x /x");
        for (method, upgrade) in [
            ("GET", "h2c"),
            ("GET", "h2c, websocket"),
            ("POST", "websocket"),
            ("WEBSOCKET", ""),
        ] {
            assert_eq!(nginx(method, "/x", upgrade), "invalid_request");
        }
        let caddy = |more: &[(&'static str, &'static str)]| {
            let said = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/x")];
            read(Convention::Caddy, &[&said[..], more].concat())
        };
        let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert_eq!(caddy(&upgrade), "WEBSOCKET /x /x");
        assert_eq!(caddy(&upgrade[1..]), "GET /x /x");
        assert_eq!(caddy(&[("x-original-upgrade", "websocket")]), "GET /x /x");
    }

    #[test]
    fn an_upgrade_that_the_proxy_keeps_silent_about_is_refused() {
        let said = [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-uri", "/x"),
            ("sec-websocket-key", "k"),
        ];
        for convention in [Convention::Traefik, Convention::Caddy] {
            assert_eq!(read(convention, &said), "invalid_request");
        }
        let told = [&said[..], &[("x-forwarded-upgrade", "websocket")]].concat();
        assert_eq!(read(Convention::Traefik, &told), "WEBSOCKET /x /x");
    }

    #[test]
    fn a_target_that_could_be_read_in_two_ways_is_refused() {
        for target in [
            "/a/../b",
            "/a%2fb",
            "//a",
            "/a;b",
            "/a\\b",
            "/%00",
            "/a#/../b",
            "/a?b#c",
            "*",
            "",
            "http://h/a",
            "/a b",
        ] {
            assert_eq!(nginx("GET", target, ""), "ambiguous_path", "{target}");
        }
        assert_eq!(nginx("GET", "/a?b c", ""), "invalid_request");
        assert_eq!(nginx("get", "/a", ""), "invalid_request");
        assert_eq!(nginx("CONNECT", "/a", ""), "invalid_request");
        assert_eq!(nginx("GET", "/%61?%2e%2e//;", ""), "GET /a /a?%2e%2e//;");
        let underscore = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/x"),
            ("x_hardtack_device", "me"),
        ];
        assert_eq!(read(Convention::Nginx, &underscore), "invalid_request");
    }

    proptest! {
        /// What a proxy is told to send on is what was decided on, and reads so
        /// once more: asked about it, the door gives the same answer.
        #[test]
        fn the_target_that_is_given_back_is_the_one_that_was_decided_on(
            target in "/([a-z~/.;#\\\\]|%[0-9a-fA-F]{2}){0,12}(\\?[ -~]{0,6})?",
        ) {
            let headers = HeaderMap::new();
            let stated = |target| Stated { method: "GET", target, upgrade: "" };
            if let Ok(original) = Original::of(stated(&target), &headers) {
                let given = original.target();
                prop_assert!(HeaderValue::from_str(&given).is_ok());
                let again = Original::of(stated(&given), &headers).unwrap();
                prop_assert_eq!(again.asked().path, original.asked().path);
                prop_assert_eq!(again.asked().wire_path, original.asked().path);
                prop_assert_eq!(again.target(), given);
            }
        }
    }
}
