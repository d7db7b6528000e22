//! Web origins: what audiences are, and what proofs of possession are bound to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::Scheme;

use crate::id::InvalidId;

/// An `http` or `https` origin (RFC 6454) without a trailing slash, such as
/// `https://gw.example`. The default port is left out, the host is lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Box<str>);

impl Origin {
    /// The origin's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host is this machine: `localhost`, `127.0.0.0/8` or `::1`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let uri = self.0.parse::<Uri>();
        let host = uri.as_ref().ok().and_then(Uri::host).unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    }

    /// The origin of an absolute URL, and its path.
    pub fn split(url: &str) -> Result<(Self, String), InvalidId> {
        let invalid = |why| InvalidId {
            what: "web URL",
            why,
        };
        let uri: Uri = url.parse().map_err(|_| invalid("it does not parse"))?;
        let default_port = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => 80,
            Some(scheme) if *scheme == Scheme::HTTPS => 443,
            Some(_) | None => return Err(invalid("it does not start with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("it has no host"))?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(invalid("a host and nothing before it is needed"));
        }
        let host = authority.host().to_ascii_lowercase();
        let scheme = uri.scheme_str().unwrap_or_default();
        let port = authority.as_str().get(authority.host().len()..);
        let port = port.and_then(|rest| match rest.strip_prefix(':') {
            Some(digits) => digits.parse::<u16>().ok(),
            None => rest.is_empty().then_some(default_port),
        });
        let origin = match port {
            None => return Err(invalid("its port is no port")),
            Some(port) if port == default_port => format!("{scheme}://{host}"),
            Some(port) => format!("{scheme}://{host}:{port}"),
        };
        Ok((Self(origin.into()), uri.path().to_owned()))
    }
}

impl FromStr for Origin {
    type Err = InvalidId;

    /// Reads an origin; a single trailing slash is tolerated, a path is not.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (origin, path) = Self::split(text)?;
        if path == "/" && !text.contains(['?', '#']) {
            Ok(origin)
        } else {
            Err(InvalidId {
                what: "web origin",
                why: "scheme, host and port are needed, and nothing behind them",
            })
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_text() {
        for (text, origin) in [
            ("http://GW.example:80/", "http://gw.example"),
            ("https://gw.example:443", "https://gw.example"),
            ("http://127.0.0.1:7421", "http://127.0.0.1:7421"),
            ("http://[::1]:7420", "http://[::1]:7420"),
        ] {
            assert_eq!(text.parse::<Origin>().unwrap().as_str(), origin);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "gw.example",
            "ftp://gw",
            "http://",
            "http://u@gw",
            "http://gw/x",
            "http://gw/?q",
            "http://gw:99999",
            "urn:x",
            "//gw",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn loopback_is_told_by_the_host() {
        let loopback = |t: &str| t.parse::<Origin>().unwrap().is_loopback();
        assert!(loopback("http://127.9.9.9:1") && loopback("http://[::1]"));
        assert!(loopback("http://LOCALHOST:7420"));
        assert!(!loopback("http://localhost.example") && !loopback("http://10.0.0.1"));
    }
}
