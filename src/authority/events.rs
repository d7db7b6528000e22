//! Following what happens: a caller sees, as it happens, what it could also list.
//!
//! A follower reads the store itself, a few rows at a time, whenever its node
//! has seen a newer event: it costs no memory to be slow, and what happened at
//! another node comes the same way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hardtack_token::{Access, Denial, GrantId, Permit, ScopeSet};
use tokio::sync::watch;

use crate::authority::caller::{Call, CallerKind};
use crate::authority::connection::{Party, Standing};
use crate::authority::{Authority, Error};
use crate::domain::event::EventKind;
use crate::domain::grant::GrantRecord;
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
use crate::domain::pairing::PairingRequest;
use crate::domain::policy::Policy;
use crate::store::{EventRow, Tx};

/// How many events are read at once.
const BATCH: u32 = 50;
/// How many may follow by one grant, and in all, at one node.
const MAX_PER_GRANT: usize = 16;
const MAX_FOLLOWERS: usize = 512;

/// The newest event that this node knows of, and who follows.
#[derive(Debug)]
pub(super) struct Events {
    newest: watch::Sender<i64>,
    followers: Arc<Followers>,
}

/// How many follow by which grant.
#[derive(Debug, Default)]
struct Followers(Mutex<HashMap<GrantId, usize>>);

/// A place among the followers, for as long as it is held.
#[derive(Debug)]
struct Place {
    grant: GrantId,
    among: Arc<Followers>,
}

/// A caller that follows.
#[derive(Debug)]
pub struct Follower {
    basis: Basis,
    /// The last event that was read.
    position: i64,
    /// Whether events before the position are not kept any more.
    missed: bool,
    newest: watch::Receiver<i64>,
    _place: Place,
}

/// What a follower is let in by.
#[derive(Debug)]
enum Basis {
    /// An access token, whose own end is the follower's.
    Token(Permit, Arc<Policy>),
    /// A device's grant: its session is renewed for as long as the grant is live.
    Grant(Party, Standing),
}

/// What a follower is told.
#[derive(Debug)]
pub enum Told {
    /// Something happened.
    Event(i64, EventKind, Subject),
    /// The events up to this number are not kept any more, or were never this
    /// database's: the lists have what came of them.
    Missed(i64),
}

/// What it happened to, as it stands now.
#[derive(Debug)]
pub enum Subject {
    /// A pairing request.
    Request(Box<PairingRequest>),
    /// A grant.
    Grant(Box<GrantRecord>),
}

impl Events {
    pub(super) fn new(newest: i64) -> Self {
        Self {
            newest: watch::Sender::new(newest),
            followers: Arc::default(),
        }
    }

    /// Tells the followers that there is more.
    pub(super) fn seen(&self, newest: i64) {
        self.newest.send_if_modified(|known| {
            let is_other = *known != newest;
            *known = newest;
            is_other
        });
    }
}

impl Followers {
    fn enter(self: &Arc<Self>, grant: GrantId) -> Result<Place, Error> {
        let too_many = |why| Error::TooMany {
            why,
            retry_after: 10,
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().sum::<usize>() >= MAX_FOLLOWERS {
            return Err(too_many("too many follow the events of this node"));
        }
        let own = all.entry(grant).or_default();
        if *own >= MAX_PER_GRANT {
            return Err(too_many("too many follow events with this grant"));
        }
        *own += 1;
        Ok(Place {
            grant,
            among: Arc::clone(self),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.among.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.grant) {
            *own -= 1;
            if *own == 0 {
                all.remove(&self.grant);
            }
        }
    }
}

impl Follower {
    /// Waits until there is more to read. Never ends if the node stops: whoever
    /// waits looks after its own end.
    pub async fn more(&mut self) {
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the caller could see this as well where it is listed.
    fn may_see(&self, kind: EventKind) -> bool {
        let operation = if kind.is_pairing() {
            Operation::PairingList
        } else {
            Operation::DevicesList
        };
        let (access, policy) = self.basis.decided_by();
        policy
            .operation(operation)
            .is_none_or(|(_, needed)| policy.catalog().meets(access.scope_bits(), needed))
    }
}

impl Basis {
    /// The session, and the policy it was compiled under.
    fn decided_by(&self) -> (&Access, &Arc<Policy>) {
        match self {
            Self::Token(permit, policy) => (permit.access(), policy),
            Self::Grant(_, standing) => (&standing.access, &standing.policy),
        }
    }
}

impl Authority {
    /// Lets a caller follow what happens from now on, or from after an event
    /// that it has seen.
    pub async fn follow(&self, call: &Call<'_>, after: Option<i64>) -> Result<Follower, Error> {
        let (caller, mut tx) = self.enter(call, Operation::Events).await?;
        let record = caller.record().ok_or(Error::RootTokenNotAccepted)?;
        let grant = record.id;
        let place = self.events.followers.enter(grant)?;
        let newest = tx.install().await?.ok_or(Error::NotInitialised)?.event_seq;
        let position = after.unwrap_or(newest);
        let missed = is_missed(&mut tx, position, newest).await?;
        tx.commit().await?;
        let policy = Arc::clone(&caller.policy);
        let basis = match caller.kind {
            CallerKind::Root(_) => return Err(Error::RootTokenNotAccepted),
            CallerKind::Session(permit, _) => Basis::Token(permit, policy),
            CallerKind::Grant(caller) => {
                let device = caller.record.device().ok_or(Error::UnknownGrant)?;
                let party = Party::Device { device, grant };
                let standing = self.renew_connection(&party, &ScopeSet::new()).await?;
                Basis::Grant(party, standing)
            }
        };
        Ok(Follower {
            basis,
            position: if missed { newest } else { position },
            missed,
            newest: self.events.newest.subscribe(),
            _place: place,
        })
    }

    /// What is new to a follower, at most a few at once; nothing if there is
    /// nothing. An error is the end of it.
    pub async fn news(&self, follower: &mut Follower) -> Result<Vec<Told>, Error> {
        self.check_follower(follower).await?;
        if std::mem::take(&mut follower.missed) {
            return Ok(vec![Told::Missed(follower.position)]);
        }
        let newest = *follower.newest.borrow();
        // The node may not have seen yet what the follower started from.
        if newest <= follower.position {
            return Ok(Vec::new());
        }
        let mut tx = self.store.read().await?;
        if is_missed(&mut tx, follower.position, newest).await? {
            follower.position = newest;
            return Ok(vec![Told::Missed(newest)]);
        }
        let rows = tx.events_after(follower.position, BATCH).await?;
        let mut told = Vec::new();
        for row in rows {
            follower.position = row.seq;
            if follower.may_see(row.kind)
                && let Some(subject) = subject(&mut tx, row).await?
            {
                told.push(Told::Event(row.seq, row.kind, subject));
            }
        }
        Ok(told)
    }

    /// Whether more waits than one batch.
    #[must_use]
    pub fn is_behind(&self, follower: &Follower) -> bool {
        *self.events.newest.borrow() > follower.position
    }

    /// SECURITY: asked before each look, so that a follower ends with what it
    /// was let in by: revoked, retired, expired, or the policy another one.
    async fn check_follower(&self, follower: &mut Follower) -> Result<(), Error> {
        let now = self.now();
        let (access, policy) = follower.basis.decided_by();
        let same_policy = Arc::ptr_eq(policy, &self.policy());
        match (self.verifier.still_live(access, now), &mut follower.basis) {
            (Ok(()), _) if same_policy => return Ok(()),
            (Ok(()) | Err(Denial::Expired(_)), Basis::Grant(party, standing)) => {
                *standing = self.renew_connection(party, &ScopeSet::new()).await?;
            }
            // Decided under another policy: anew, when it comes back.
            (Ok(()), Basis::Token(..)) => return Err(Denial::Expired(now).into()),
            (Err(denial), _) => return Err(denial.into()),
        }
        let (access, policy) = follower.basis.decided_by();
        match policy.operation(Operation::Events) {
            Some((scope, needed)) if !policy.catalog().meets(access.scope_bits(), needed) => {
                Err(Denial::InsufficientScope {
                    required: [scope.clone()].into_iter().collect(),
                    held: access.scopes(),
                }
                .into())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether events after a position are gone, or the position is of a time that
/// this database does not know.
async fn is_missed(tx: &mut Tx, position: i64, newest: i64) -> Result<bool, Error> {
    if position >= newest {
        return Ok(position > newest);
    }
    let oldest = tx.oldest_event().await?.unwrap_or(newest + 1);
    Ok(position + 1 < oldest)
}

/// What an event is about; none if it is gone, or is a session's.
async fn subject(tx: &mut Tx, row: EventRow) -> Result<Option<Subject>, Error> {
    if row.kind.is_pairing() {
        let request = tx.request(RequestId::from_uuid(row.id)).await?;
        return Ok(request.map(|request| Subject::Request(Box::new(request))));
    }
    let grant = tx.grant(GrantId::from_uuid(row.id)).await?;
    Ok(grant.map(|grant| Subject::Grant(Box::new(grant.record))))
}
