//! All clients that are let in: looked after, so that each ends with what it
//! was let in by, and renewed, so that none ends before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hardtack_token::{Denial, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::authority::connection::Party;
use crate::authority::{Authority, Error};
use crate::openclaw::admission::Admitted;
use crate::openclaw::session::{End, Session};
use crate::openclaw::upgrade::Visitor;

/// How often it is looked whether something has changed or is over: a socket
/// is closed within a second of a revocation, and the feed is read twice in it.
const PERIOD: Duration = Duration::from_millis(100);
/// How often it is looked whether a session is to be renewed.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long before its end a session is renewed, in seconds: long enough that
/// a database may be away for a while.
const AHEAD: u64 = 450;

/// All clients that are let in.
#[derive(Debug)]
pub(super) struct Sessions {
    authority: Arc<Authority>,
    open: Mutex<HashMap<u64, Weak<Session>>>,
    ids: AtomicU64,
}

/// A client's session for as long as it is open.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) session: Arc<Session>,
    all: Arc<Sessions>,
}

impl Sessions {
    pub(super) fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            open: Mutex::default(),
            ids: AtomicU64::new(1),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    /// Opens a session, and gives what is to be sent to its client. It is open
    /// until its handle is dropped.
    pub(super) fn open_session(
        self: &Arc<Self>,
        admitted: Admitted,
        visitor: Visitor,
    ) -> (OpenSession, mpsc::Receiver<String>) {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let authority = Arc::clone(&self.authority);
        let (session, waiting) = Session::new(id, admitted, visitor, authority);
        let session = Arc::new(session);
        self.open().insert(id, Arc::downgrade(&session));
        // SECURITY: a look between the decision and this moment has not seen
        // the session. Whatever comes after is seen by the next one.
        session.look(self.authority.now());
        let open = OpenSession {
            session,
            all: Arc::clone(self),
        };
        (open, waiting)
    }

    /// Those that are open now.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.open().values().filter_map(Weak::upgrade).collect()
    }

    /// Ends what is no longer allowed, for ever.
    pub(super) async fn watch(&self) {
        let mut ticks = ticks(PERIOD);
        let mut seen = None;
        let mut due = Timestamp::MAX;
        loop {
            ticks.tick().await;
            let now = self.authority.now();
            let verifier = self.authority.verifier();
            // Before the entries that it stands for are asked.
            let changes = verifier.changes();
            let known = seen == Some((changes, self.ids.load(Ordering::Relaxed)));
            if known && now < due && !verifier.revocations().is_stale(now) {
                continue;
            }
            seen = Some((changes, self.ids.load(Ordering::Relaxed)));
            let all = self.all();
            for session in &all {
                session.look(now);
            }
            let ends = all.iter().map(|session| session.access().expires_at());
            due = ends
                .filter(|end| *end > now)
                .min()
                .unwrap_or(Timestamp::MAX);
        }
    }

    /// Renews what would end before its grant does, and all when the policy is
    /// another, for ever.
    pub(super) async fn renew(&self) {
        let mut ticks = ticks(RENEWAL);
        let mut generation = self.authority.policy().catalog().generation();
        loop {
            ticks.tick().await;
            let now = self.authority.now();
            let current = self.authority.policy().catalog().generation();
            self.renew_due(now, current != generation).await;
            generation = current;
        }
    }

    /// Renews what ends soon, or all.
    pub(super) async fn renew_due(&self, now: Timestamp, all: bool) {
        for session in self.all() {
            if all || is_due(&session, now) {
                self.renew_one(&session).await;
            }
        }
    }

    async fn renew_one(&self, session: &Session) {
        let renewed = self
            .authority
            .renew_connection(&session.party, &session.asked);
        match renewed.await {
            Ok(standing) => session.renewed(standing),
            Err(Error::Denied(
                denial @ (Denial::Revoked | Denial::Retired | Denial::Expired(_)),
            )) => {
                session.end(End::Denied(denial));
            }
            // It is tried again until the session ends by itself.
            Err(error) => tracing::warn!(%error, "an OpenClaw session cannot be renewed now"),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Weak<Session>>> {
        // Each change of it is one step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.all.open().remove(&self.session.id);
    }
}

/// Whether a session ends soon, and its grant does not.
fn is_due(session: &Session, now: Timestamp) -> bool {
    let end = session.access().expires_at();
    let of_grant = session.record.expires_at;
    matches!(session.party, Party::Device { .. })
        && end <= now.plus(AHEAD)
        && of_grant.is_none_or(|of_grant| end < of_grant)
}

fn ticks(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
