//! What clients that may see pairings are told of them.
//!
//! Whoever answers a request, by this door, by the API or on another node, it
//! is seen in the store. A client that does not keep up misses events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hardtack_token::DeviceId;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::domain::ids::RequestId;
use crate::domain::pairing::{PairingRequest, RequestState};
use crate::openclaw::OpenClaw;
use crate::openclaw::session::Session;
use crate::openclaw::{frames, methods, views};

/// How often requests are looked at.
const PERIOD: Duration = Duration::from_millis(500);

pub(super) const REQUESTED: &str = "device.pair.requested";
pub(super) const RESOLVED: &str = "device.pair.resolved";
pub(super) const CHANGED: &str = "device.pair.changed";
pub(super) const SETUP_COMPLETED: &str = "device.pair.setup.completed";

/// That there is something new about pairings.
#[derive(Debug)]
pub(super) struct News {
    look: Notify,
    seen: watch::Sender<()>,
    /// A device was renamed, rotated or ended by this door.
    changed: watch::Sender<bool>,
}

impl Default for News {
    fn default() -> Self {
        Self {
            look: Notify::new(),
            seen: watch::Sender::new(()),
            changed: watch::Sender::new(false),
        }
    }
}

impl News {
    /// Has requests looked at now.
    pub(super) fn hasten(&self) {
        self.look.notify_one();
    }

    /// Has clients told that a device is not what it was.
    pub(super) fn tell_of_change(&self) {
        self.changed.send_replace(true);
        self.hasten();
    }

    /// Wakes when a request is new, or answered.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.seen.subscribe()
    }
}

/// The requests that are known to wait.
pub(super) type Known = BTreeMap<RequestId, DeviceId>;

impl OpenClaw {
    /// The requests that wait now; none if that cannot be known.
    pub(super) async fn known_pairings(&self) -> Option<Known> {
        let looked = self.authority.look_at_pairings(&BTreeSet::new()).await;
        let looked = looked.ok()?;
        Some(looked.pending.iter().map(|r| (r.id, r.device)).collect())
    }

    /// Tells clients of pairings, for ever. What waits already is no news:
    /// whoever comes asks for it.
    pub(super) async fn tell_of_pairings(self: Arc<Self>, mut known: Option<Known>) {
        loop {
            // Time out or told to look: it is looked either way, with nobody
            // there too, so that whoever comes misses nothing from then on.
            timeout(PERIOD, self.news.look.notified()).await.ok();
            let before: BTreeSet<RequestId> = known.iter().flat_map(Known::keys).copied().collect();
            let looked = match self.authority.look_at_pairings(&before).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(%error, "pairing requests cannot be looked at now");
                    continue;
                }
            };
            let waits: Known = looked.pending.iter().map(|r| (r.id, r.device)).collect();
            let mut events = Vec::new();
            if let Some(known) = &known {
                let resolved = looked.resolved.iter();
                events.extend(resolved.map(|r| frames::event(RESOLVED, &self.resolved(r))));
                let new = looked.pending.iter().filter(|r| !known.contains_key(&r.id));
                events.extend(new.map(|r| frames::event(REQUESTED, &views::pending(r))));
            }
            known = Some(waits);
            if !events.is_empty() {
                self.news.seen.send_replace(());
            }
            if self.news.changed.send_replace(false) {
                events.push(frames::event(CHANGED, &json!({})));
            }
            if !events.is_empty() {
                tell(&self.sessions.all(), &events);
            }
        }
    }

    fn resolved(&self, request: &PairingRequest) -> Value {
        let decision = match request.state {
            RequestState::Approved(_) => "approved",
            RequestState::Pending
            | RequestState::Rejected(_)
            | RequestState::Expired
            | RequestState::Superseded(_) => "rejected",
        };
        json!({
            "requestId": request.id.to_string(),
            "deviceId": request.device.to_string(),
            "decision": decision,
            "ts": self.authority.millis(),
        })
    }
}

/// Tells whoever may see pairings of something at once.
pub(super) fn tell_all(sessions: &[Arc<Session>], name: &str, payload: &Value) {
    tell(sessions, &[frames::event(name, payload)]);
}

fn tell(sessions: &[Arc<Session>], events: &[String]) {
    for session in sessions {
        if session.check_own(methods::LIST).is_err() {
            continue;
        }
        for event in events {
            // One that does not keep up has to ask.
            session.to_client.try_send(event.clone()).ok();
        }
    }
}
