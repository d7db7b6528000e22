//! Forward-auth: the door of proxies that ask, and serve the request themselves.
//!
//! Each proxy has a path of its own, and at each path only the headers of that
//! proxy's convention are read. The decision is the one of all doors.

mod answer;
pub(crate) mod original;
mod secret;

use http::request::Parts;
use http::{HeaderMap, HeaderName, Response};

use crate::gateway::Gateway;
use crate::gateway::body::AnswerBody;
use crate::gateway::identity::Identity;
use crate::gateway::log::Line;
use crate::gateway::refusal::{Refusal, Refused};
use crate::gateway::request::Spelt;
use crate::gateway::reverse_proxy::Sender;
use crate::web::peer::Peer;
pub(crate) use answer::Allowance;
use original::Original;
pub use secret::{InvalidSecret, ProxySecret};

/// What the paths of all doors start with.
const PREFIX: &str = "/forward-auth";

/// How a proxy tells of the request that it asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Convention {
    /// `auth_request` of nginx, with the headers that its configuration sets.
    Nginx,
    /// `forwardAuth` of Traefik.
    Traefik,
    /// `forward_auth` of Caddy.
    Caddy,
}

/// A path that belongs to forward-auth.
///
/// SECURITY: the whole prefix does. A proxy that asks at a misspelt path would
/// else get the upstream's 200 from a public route, and take it for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Of(Convention),
    Unknown,
}

impl Door {
    /// The door that a request is for, by the one spelling of its path.
    pub(crate) fn at(path: &Spelt<'_>) -> Option<Self> {
        let below = path.as_deref().ok()?.strip_prefix(PREFIX)?;
        match below {
            "/nginx" => Some(Self::Of(Convention::Nginx)),
            "/traefik" => Some(Self::Of(Convention::Traefik)),
            "/caddy" => Some(Self::Of(Convention::Caddy)),
            _ if below.is_empty() || below.starts_with('/') => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl Convention {
    /// The header with the method.
    fn method(self) -> &'static HeaderName {
        static ORIGINAL: HeaderName = HeaderName::from_static("x-original-method");
        static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-method");
        match self {
            Self::Nginx => &ORIGINAL,
            Self::Traefik | Self::Caddy => &FORWARDED,
        }
    }

    /// The header with path and query.
    fn uri(self) -> &'static HeaderName {
        static ORIGINAL: HeaderName = HeaderName::from_static("x-original-uri");
        static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-uri");
        match self {
            Self::Nginx => &ORIGINAL,
            Self::Traefik | Self::Caddy => &FORWARDED,
        }
    }

    /// The header that says what the request is to be upgraded to. Caddy sends
    /// `Upgrade` itself on; the others do not, so that a header has to be set.
    fn upgrade(self) -> Option<&'static HeaderName> {
        static ORIGINAL: HeaderName = HeaderName::from_static("x-original-upgrade");
        static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-upgrade");
        match self {
            Self::Nginx => Some(&ORIGINAL),
            Self::Traefik => Some(&FORWARDED),
            Self::Caddy => None,
        }
    }
}

impl Gateway {
    /// Answers a proxy's question. A refusal is made into its answer here.
    pub(crate) fn forward_auth(
        &self,
        door: Door,
        parts: &Parts,
        sender: Sender<'_>,
    ) -> Result<Allowance, Box<Response<AnswerBody>>> {
        let wire = Line {
            method: parts.method.as_str(),
            path: parts.uri.path(),
        };
        if !self.is_proxy(&parts.headers, sender.peer) {
            let refused = Refused::unknown(Refusal::ProxyNotTrusted);
            return Err(self.deny(door, &refused, wire, sender));
        }
        let Door::Of(convention) = door else {
            let refused = Refused::unknown(Refusal::NotFound);
            return Err(self.deny(door, &refused, wire, sender));
        };
        // The secret makes a proxy as good as one that is known by its address.
        let peer = Peer {
            trusted: true,
            ..sender.peer
        };
        // Only the log names the client.
        let sender = || Sender {
            peer,
            client: peer.client(&parts.headers, &self.trusted_proxies),
            ..sender
        };
        let original = match Original::read(convention, parts) {
            Ok(original) => original,
            Err(why) => return Err(self.deny(door, &Refused::unknown(why), wire, sender())),
        };
        let asked = original.asked();
        let line = Line::of(&asked);
        match self.decider.decide(&asked) {
            Ok(allowed) => {
                let access = allowed.access();
                self.log_allowed(|| sender().subject(line), access);
                Ok(Allowance {
                    identity: access.map_or_else(Identity::nobody, Identity::of),
                    target: original.target(),
                })
            }
            Err(refused) => Err(self.deny(door, &refused, line, sender())),
        }
    }

    /// SECURITY: only our proxies may ask. Whoever else could ask about any
    /// request that it likes to make up, as if it had come from any address.
    pub(crate) fn is_proxy(&self, headers: &HeaderMap, peer: Peer) -> bool {
        match &self.proxy_secret {
            Some(secret) => secret.is_presented(headers),
            None => peer.trusted,
        }
    }

    fn deny(
        &self,
        door: Door,
        refused: &Refused,
        line: Line<'_>,
        sender: Sender<'_>,
    ) -> Box<Response<AnswerBody>> {
        let answer = self.refuse(refused, line, sender);
        Box::new(match door {
            Door::Of(Convention::Nginx) => answer::for_nginx(answer),
            // The others pass an answer that is no 2xx on to the client as it is.
            Door::Of(Convention::Traefik | Convention::Caddy) | Door::Unknown => answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_below_the_prefix_is_a_door_or_none() {
        for (path, door) in [
            ("/forward-auth/nginx", Some(Door::Of(Convention::Nginx))),
            ("/forward-auth/traefik", Some(Door::Of(Convention::Traefik))),
            ("/forward-auth/caddy", Some(Door::Of(Convention::Caddy))),
            ("/forward-auth", Some(Door::Unknown)),
            ("/forward-auth/", Some(Door::Unknown)),
            ("/forward-auth/ngnix", Some(Door::Unknown)),
            ("/forward-auth/nginx/", Some(Door::Unknown)),
            ("/forward-authority", None),
            ("/", None),
        ] {
            assert_eq!(Door::at(&Ok(path.into())), door, "{path}");
        }
    }
}
