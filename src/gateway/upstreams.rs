//! Where allowed requests go: to the upstream with the longest prefix of the path.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use futures_util::future::join_all;
use hardtack_token::InvalidId;
use hardtack_token::path::canonical;

use crate::gateway::Timeouts;
use crate::gateway::link::Links;
use crate::gateway::names::Names;
use crate::gateway::proxy::Proxy;
use crate::gateway::trust;
use crate::gateway::upstream::Upstream;
use crate::web::tls::TlsError;

/// An upstream, and the paths that it is for.
#[derive(Debug)]
struct Routed {
    prefix: Prefix,
    upstream: Upstream,
}

/// The beginning of paths, in whole segments; empty for all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix(Box<str>);

/// The upstreams of a gateway, and the connections to them.
#[derive(Debug, Default)]
pub struct Upstreams(Vec<(Prefix, Proxy)>);

/// Why there is no way to an upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It does not read. What was given is not shown: there may be a password in it.
    #[error("--upstream: {0}")]
    Invalid(#[from] InvalidId),
    /// Two are for the same paths.
    #[error("--upstream: there are two for {0}")]
    Twice(String),
    /// The file of authorities does not read.
    #[error("--upstream-ca {0}")]
    File(#[from] TlsError),
    /// What is in it is no authority.
    #[error("--upstream-ca {}: {error}", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: rustls::Error,
    },
    /// An upstream is `https`, and there is nothing to check its certificate by.
    #[error(
        "--upstream: this machine has no certificates of authorities to check an https upstream by ({0}); --upstream-ca names some"
    )]
    NoAuthorities(String),
    /// The library does not start.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

impl Prefix {
    /// Whether a canonical path is below it. `/api` is no beginning of `/apis`.
    fn holds(&self, path: &str) -> bool {
        let below = path.strip_prefix(&*self.0);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

impl Upstreams {
    /// Sets up the ways to upstreams: `URL` for all paths, `/prefix=URL` for those
    /// below a prefix. Nothing is connected yet. `authorities` is a file (PEM) of
    /// authorities that https upstreams may have their certificates from, besides
    /// those of this machine.
    pub fn new(
        texts: &[String],
        authorities: Option<&Path>,
        timeouts: &Timeouts,
    ) -> Result<Self, UpstreamError> {
        Self::with_names(texts, authorities, timeouts, &Names::of_system())
    }

    pub(crate) fn with_names(
        texts: &[String],
        authorities: Option<&Path>,
        timeouts: &Timeouts,
        names: &Names,
    ) -> Result<Self, UpstreamError> {
        let routed: Result<Vec<Routed>, _> = texts.iter().map(|text| text.parse()).collect();
        let mut routed = routed?;
        // The longest prefix that holds a path is then the first.
        routed.sort_by_key(|routed| std::cmp::Reverse(routed.prefix.0.len()));
        let needs_tls = routed.iter().any(|routed| routed.upstream.is_tls());
        // A file that is named is right, or the start fails.
        let tls = (needs_tls || authorities.is_some()).then(|| trust::client_config(authorities));
        let tls = tls.transpose()?;
        let mut ways: Vec<(Prefix, Proxy)> = Vec::with_capacity(routed.len());
        for Routed { prefix, upstream } in routed {
            if ways.iter().any(|(other, _)| *other == prefix) {
                return Err(UpstreamError::Twice(prefix.to_string()));
            }
            let links = Links {
                speaks: upstream.speaks(),
                tls: tls.clone().filter(|_| upstream.is_tls()),
                names: names.clone(),
                timeouts: *timeouts,
            };
            ways.push((prefix, Proxy::new(upstream, links)));
        }
        Ok(Self(ways))
    }

    /// The upstream of a path.
    ///
    /// INVARIANT: `path` is the canonical one that was decided on, so that no
    /// spelling of it leads to another upstream.
    pub(crate) fn of(&self, path: &str) -> Option<&Proxy> {
        let mut ways = self.0.iter();
        let (_, proxy) = ways.find(|(prefix, _)| prefix.holds(path))?;
        Some(proxy)
    }

    /// Follows the names of upstreams to other addresses, for ever.
    pub(crate) async fn follow(&self) {
        join_all(self.0.iter().map(|(_, proxy)| proxy.follow())).await;
        std::future::pending::<()>().await;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Routed {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |why| InvalidId {
            what: "upstream",
            why,
        };
        let (prefix, url) = if text.starts_with('/') {
            let parts = text.split_once('=');
            parts.ok_or_else(|| invalid("behind a prefix stands `=` and its URL"))?
        } else {
            ("", text)
        };
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() && canonical(prefix).as_deref() != Ok(prefix) {
            return Err(invalid("its prefix is not a path in canonical form"));
        }
        Ok(Self {
            prefix: Prefix(prefix.into()),
            upstream: url.parse()?,
        })
    }
}

impl fmt::Display for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (prefix, proxy) in self.0.iter().rev() {
            f.write_str(comma)?;
            if !prefix.0.is_empty() {
                write!(f, "{prefix} → ")?;
            }
            proxy.upstream().fmt(f)?;
            comma = ", ";
        }
        Ok(())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "all paths"
        } else {
            &self.0
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upstreams(all: &[&str]) -> Result<Upstreams, UpstreamError> {
        let all: Vec<String> = all.iter().copied().map(str::to_owned).collect();
        Upstreams::new(&all, None, &Timeouts::default())
    }

    fn chosen(all: &Upstreams, path: &str) -> Option<String> {
        Some(all.of(path)?.upstream().to_string())
    }

    #[tokio::test]
    async fn the_longest_prefix_in_whole_segments_decides() {
        let all = [
            "/api=http://b",
            "http://a",
            "/api/v2/=http://c/base",
            "/x%2By=http://d",
        ];
        let all = upstreams(&all).unwrap();
        for (path, expected) in [
            ("/", "http://a"),
            ("/apis", "http://a"),
            ("/ap", "http://a"),
            ("/API/x", "http://a"),
            ("/api", "http://b"),
            ("/api/", "http://b"),
            ("/api/v20", "http://b"),
            ("/api/v2", "http://c/base"),
            ("/api/v2/x", "http://c/base"),
            ("/x%2By/z", "http://d"),
        ] {
            assert_eq!(chosen(&all, path).as_deref(), Some(expected), "{path}");
        }
        let no_default = upstreams(&["/api=http://b"]).unwrap();
        assert_eq!(chosen(&no_default, "/x"), None);
        assert_eq!(chosen(&upstreams(&[]).unwrap(), "/x"), None);
    }

    #[tokio::test]
    async fn what_is_no_upstream_or_the_second_for_its_paths_is_refused() {
        for all in [
            &["/api"][..],
            &["/api="],
            &["/api=/x"],
            &["api=http://b"],
            &["/a/../b=http://b"],
            &["//=http://b", "http://a"],
            &["/%61pi=http://b"],
            &["http://a", "http://b"],
            &["/api=http://b", "/api/=http://c"],
        ] {
            let error = upstreams(all).unwrap_err().to_string();
            assert!(error.starts_with("--upstream: "), "{error}");
        }
        let error = upstreams(&["http://user:secret@a"]).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn the_chosen_prefix_is_the_longest_that_holds(path in "(/[ab]{1,2}){0,4}/?") {
            let all = ["", "/a", "/a/b", "/ab", "/a/b/a"];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _guard = runtime.enter();
            let texts = all.map(|prefix| match prefix {
                "" => "http://u".to_owned(),
                _ => format!("{prefix}=http://u{prefix}"),
            });
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let segments: Vec<&str> = path.split('/').collect();
            let longest = (1..=segments.len()).rev().find_map(|count| {
                let start = segments.iter().take(count).copied().collect::<Vec<_>>().join("/");
                all.iter().find(|prefix| **prefix == start)
            });
            let expected = format!("http://u{}", longest.unwrap());
            prop_assert_eq!(chosen(&upstreams(&texts).unwrap(), &path), Some(expected));
        }
    }
}
