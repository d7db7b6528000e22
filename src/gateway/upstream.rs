//! Where allowed requests go: the URL of the upstream.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use bytes::Bytes;
use hardtack_token::{InvalidId, Origin};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// The URL of an upstream: scheme, host, port and perhaps a base path. `h2c` is
/// HTTP/2 without TLS, which the two sides have to know beforehand.
#[derive(Clone)]
pub(crate) struct Upstream {
    speaks: Speaks,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// What is put before every path; no slash at its end.
    base: Box<str>,
}

/// Which HTTP an upstream is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    /// What is agreed on in the handshake, HTTP/2 first.
    ByAlpn,
}

impl Upstream {
    pub(crate) const fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Whether the connection to it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Its name, if it is not known by an address.
    pub(crate) fn name(&self) -> Option<&str> {
        let host = self.authority.host();
        let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        (!is_address).then_some(host)
    }

    /// The `Host` that it is addressed by.
    pub(crate) const fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The URL of a canonical path there. The query goes along as it came.
    ///
    /// INVARIANT: `path` is what was decided on, and nothing but the base is added.
    pub(crate) fn url(&self, path: &str, received: &Uri) -> Result<Uri, http::Error> {
        // The target goes on as it is, without a copy, if it was canonical.
        let same = received
            .path_and_query()
            .filter(|target| self.base.is_empty() && target.path() == path);
        let target = if let Some(target) = same {
            target.clone()
        } else {
            let query = received.query();
            let query = query.map(|q| format!("?{q}")).unwrap_or_default();
            let text = format!("{}{path}{query}", self.base);
            PathAndQuery::from_maybe_shared(Bytes::from(text))?
        };
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Ok(Uri::from_parts(parts)?)
    }
}

impl FromStr for Upstream {
    type Err = InvalidId;

    /// Reads an `http`, `https` or `h2c` URL without user, query and fragment.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |why| InvalidId {
            what: "upstream URL",
            why,
        };
        let knows_http2 = text.split_once("://");
        let knows_http2 = knows_http2.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("h2c"));
        let (origin, path) = match knows_http2 {
            Some((_, rest)) => Origin::split(&format!("http://{rest}"))?,
            None => Origin::split(text)?,
        };
        if text.contains(['?', '#']) {
            return Err(invalid("it must not have a query or a fragment"));
        }
        let path = path.trim_end_matches('/');
        if !path.is_empty() && hardtack_token::path::canonical(path).as_deref() != Ok(path) {
            return Err(invalid("its path is not in canonical form"));
        }
        let parts = origin.as_str().parse::<Uri>().map(Uri::into_parts);
        let parts = parts.map_err(|_| invalid("it does not parse"))?;
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(invalid("it has no host"));
        };
        let host = HeaderValue::from_str(authority.as_str());
        Ok(Self {
            speaks: match knows_http2 {
                Some(_) => Speaks::Http2,
                None if scheme == Scheme::HTTPS => Speaks::ByAlpn,
                None => Speaks::Http1,
            },
            scheme,
            host: host.map_err(|_| invalid("its host is no host"))?,
            authority,
            base: path.into(),
        })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.speaks {
            Speaks::Http2 => "h2c",
            Speaks::Http1 | Speaks::ByAlpn => self.scheme.as_str(),
        };
        write!(f, "{scheme}://{}{}", self.authority, self.base)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use hardtack_token::path::canonical;

    fn url(upstream: &str, target: &str) -> String {
        let upstream: Upstream = upstream.parse().unwrap();
        let received: Uri = target.parse().unwrap();
        let path = canonical(received.path()).unwrap();
        upstream.url(&path, &received).unwrap().to_string()
    }

    #[test]
    fn the_canonical_path_goes_behind_the_base_and_the_query_along() {
        for (upstream, target, expected) in [
            ("http://up:8080", "/api/x", "http://up:8080/api/x"),
            (
                "http://up:80/",
                "/%7Ex?a=%2e%2e&b",
                "http://up/~x?a=%2e%2e&b",
            ),
            ("https://up/base/", "/", "https://up/base/"),
            ("h2c://up:8080", "/x?y", "http://up:8080/x?y"),
            ("http://[::1]:1/b", "/x?", "http://[::1]:1/b/x?"),
            ("http://up", "http://other/x?q", "http://up/x?q"),
        ] {
            assert_eq!(url(upstream, target), expected);
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for text in [
            "",
            "up:8080",
            "ftp://up",
            "h2c://",
            "h2c://u:p@up",
            "http://u:p@up",
            "http://up/?q",
            "http://up/a/../b",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
        let shown: Upstream = "HTTP://UP:80/b/".parse().unwrap();
        assert_eq!(shown.to_string(), "http://up/b");
        let shown: Upstream = "H2C://UP:8080/b/".parse().unwrap();
        assert_eq!(shown.to_string(), "h2c://up:8080/b");
    }

    proptest! {
        #[test]
        fn the_upstream_gets_the_path_that_was_decided_on(
            target in "/([a-z~]|%[0-9a-f]{2}|/){0,12}(\\?[a-z%/.]{0,6})?",
        ) {
            let received: Uri = target.parse().unwrap();
            if let Ok(path) = canonical(received.path()) {
                let upstream: Upstream = "http://up".parse().unwrap();
                let url = upstream.url(&path, &received).unwrap();
                prop_assert_eq!(url.path(), &*path);
                prop_assert_eq!(url.query(), received.query());
            }
        }
    }
}
