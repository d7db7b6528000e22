//! The door for OpenClaw's clients: their gateway protocol, versions 3 and 4,
//! spoken by hardtack in front of a gateway that it is trusted by.
//!
//! ```text
//! socket ──▶ serve ──▶ handshake ──▶ admission ──▶ bridge ──▶ upstream
//!            limits     challenge,    device proof,  every frame's method
//!                       connect       grant, token   against the policy
//!                           │            │              │
//!                           └─ errors ◀──┴──────────────┘   every refusal, once
//! ```
//!
//! It stands beside `api` and `gateway`: it may use the authority, since a
//! connection is an exchange in process, and knows no database itself. The
//! upstream has no say in who is paired: `device.*` is answered here.
//!
//! SECURITY: who may approve, and what, is measured on the stored grant of the
//! device on a connection, never on the scopes that the connection asked for.

mod admission;
mod bridge;
mod connect;
mod devices;
mod errors;
mod events;
mod frames;
mod handshake;
mod hello;
mod limits;
mod methods;
mod pairing;
mod proof;
mod reasons;
mod serve;
mod session;
mod sessions;
mod setup;
mod socket;
mod tokens;
mod upgrade;
mod upstream;
mod views;
mod wider;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::authority::Authority;
use crate::domain::setup_code::GatewayUrl;
use events::News;
use limits::{Addresses, Lockouts};
pub use serve::serve;
use sessions::Sessions;
pub use upstream::Upstream;

/// How the door is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The gateway that clients are passed on to.
    pub upstream: Upstream,
    /// Where clients reach this door, as setup codes say it.
    pub url: GatewayUrl,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How far a device's clock may be off.
    pub skew: Duration,
    /// How long what takes time may take.
    pub timeouts: Timeouts,
}

/// How long what takes time may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the first byte of a connection to its `connect` request.
    pub handshake: Duration,
    /// For the upstream to let a client in.
    pub upstream: Duration,
    /// For a client to take one message.
    pub slow_reader: Duration,
    /// For the other side to answer a close frame.
    pub farewell: Duration,
}

/// The door.
#[derive(Debug)]
pub struct OpenClaw {
    authority: Arc<Authority>,
    settings: Settings,
    addresses: Arc<Addresses>,
    lockouts: Lockouts,
    sessions: Arc<Sessions>,
    news: News,
}

impl OpenClaw {
    /// Sets the door up.
    #[must_use]
    pub fn new(settings: Settings, authority: Arc<Authority>) -> Self {
        Self {
            sessions: Arc::new(Sessions::new(Arc::clone(&authority))),
            addresses: Arc::default(),
            lockouts: Lockouts::default(),
            news: News::default(),
            authority,
            settings,
        }
    }

    /// Renews the sessions that end soon and whose grants do not. `serve` does
    /// so every second.
    pub async fn renew_sessions(&self) {
        self.sessions.renew_due(self.authority.now(), false).await;
    }

    /// The number of clients that are connected and let in.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.sessions.len()
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(15),
            upstream: Duration::from_secs(10),
            slow_reader: Duration::from_mins(1),
            farewell: Duration::from_secs(2),
        }
    }
}
