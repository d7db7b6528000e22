//! The gateway: a reverse proxy that decides on every request.
//!
//! It may depend on `domain` and `hardtack-token`, and on no database: what it
//! decides by is in memory and changed by others. A request goes
//!
//! ```text
//! wire ──▶ request ──▶ decide ──▶ headers ──▶ proxy ──▶ upstream
//!          one method,  token,     ours set,
//!          one path     policy     theirs gone
//!             │           │                     │
//!             └───────────┴── problem ◀─────────┘   every refusal, once
//! ```
//!
//! What lasts longer than a request's head, a body or a WebSocket, is one of the
//! `streams`, which end with the permit that they were allowed by.
//!
//! INVARIANT: what `decide` saw is what the upstream gets: `request` leaves one
//! reading of a request, in whichever HTTP it came, and only `headers`, `trailers`
//! and `upstream` make what is sent on. `upstreams` chooses by the same path.
//! `decide` knows nothing of doors. `forward_auth` and `ext_authz` are others,
//! for proxies that ask and serve the request themselves.

mod body;
mod decide;
#[cfg(feature = "envoy")]
mod ext_authz;
mod forward_auth;
mod frames;
mod headers;
mod identity;
mod link;
mod log;
mod names;
mod own;
mod problem;
mod proxy;
mod refusal;
pub mod rehearsal;
mod request;
mod request_id;
mod reverse_proxy;
mod serve;
mod streams;
#[cfg(test)]
mod tests;
mod trailers;
mod trust;
mod tunnel;
mod upgrade;
mod upstream;
mod upstreams;
mod way_out;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hardtack_token::dpop::ReplayMemory;
use hardtack_token::{Clock, Origin, Verifier};
use ipnet::IpNet;
use rand::RngCore;

use crate::domain::policy::Policy;
use crate::web::metrics::Metrics;
use decide::Decider;
pub use forward_auth::{InvalidSecret, ProxySecret};
use request_id::RequestIds;
pub use serve::serve;
pub use streams::OpenStreams;
use streams::Streams;
pub use upstreams::{UpstreamError, Upstreams};
use way_out::Site;

/// How a gateway is set up.
#[derive(Debug)]
pub struct GatewaySettings {
    /// The gateway's URL: the audience it states, and what proofs are made for.
    /// Proofs may name a loopback host on any port as well.
    pub origin: Origin,
    /// The authority's URL, where callers are sent to pair and to exchange.
    pub issuer: Origin,
    /// Where allowed requests go. Those that go nowhere are answered 503.
    pub upstreams: Upstreams,
    /// Proxies whose forwarding headers and request ids are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What a proxy presents at the forward-auth doors. Without one they answer
    /// to `trusted_proxies`.
    pub proxy_secret: Option<ProxySecret>,
    /// How long it waits for what.
    pub timeouts: Timeouts,
}

/// How long the gateway waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the head of a request, and for the next request on a connection.
    pub request_head: Duration,
    /// For a connection to the upstream.
    pub connect: Duration,
    /// For the head of the upstream's answer, counted anew with each part of
    /// the request's body that it took.
    pub response: Duration,
    /// Between two looks at the addresses of an upstream.
    pub addresses: Duration,
    /// For requests to end when the gateway shuts down.
    pub drain: Duration,
}

/// A reverse proxy that decides on every request.
#[derive(Debug)]
pub struct Gateway {
    decider: Decider,
    upstreams: Upstreams,
    issuer: Origin,
    trusted_proxies: Vec<IpNet>,
    proxy_secret: Option<ProxySecret>,
    timeouts: Timeouts,
    ids: RequestIds,
    allows: log::Sample,
    streams: Arc<Streams>,
    metrics: Arc<Metrics>,
}

impl Gateway {
    /// Sets a gateway up. It decides by the policy that is in force when a
    /// request comes, and by the keys and revocations that `verifier` is fed.
    pub fn new(
        settings: GatewaySettings,
        verifier: Arc<Verifier>,
        policy: Arc<ArcSwap<Policy>>,
        clock: Arc<dyn Clock>,
        proofs: Arc<ReplayMemory>,
        rng: &mut dyn RngCore,
    ) -> Self {
        let timeouts = settings.timeouts;
        let metrics = Arc::new(Metrics::new());
        let streams = Streams::new(Arc::clone(&verifier), Arc::clone(&clock));
        Self {
            streams,
            decider: Decider::new(
                settings.origin,
                verifier,
                policy,
                clock,
                proofs,
                Arc::clone(&metrics),
            ),
            metrics,
            upstreams: settings.upstreams,
            issuer: settings.issuer,
            trusted_proxies: settings.trusted_proxies,
            proxy_secret: settings.proxy_secret,
            timeouts,
            ids: RequestIds::new(rng),
            allows: log::Sample::default(),
        }
    }

    /// What it counts.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What is open now.
    #[must_use]
    pub fn open_streams(&self) -> OpenStreams {
        self.streams.count()
    }

    const fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Where refusals send people.
    const fn site(&self) -> Site<'_> {
        Site {
            gateway: self.decider.origin(),
            issuer: &self.issuer,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(30),
            connect: Duration::from_secs(5),
            response: Duration::from_mins(1),
            addresses: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}
