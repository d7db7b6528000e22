//! Connections that stay open, by a protocol in which a device proves its key
//! once, when the connection is made.
//!
//! What stands behind such a connection is the device's stored grant. A real
//! session is attested on it in process, goes through the same verifier as
//! every access token, and never leaves; it is renewed for as long as the
//! grant's row is live. A client without a key has an access token instead,
//! whose own end is the connection's.

use std::sync::Arc;

use hardtack_token::{
    Access, Catalog, Caveat, Denial, DeviceId, GrantId, NewSession, Permit, Profile, PublicKey,
    Request, Requirement, Role, ScopeSet, SessionId, TokenText, Untrusted,
};

use crate::authority::caller::{Call, Caller, CallerKind, GrantCaller, LiveCaller};
use crate::authority::pairing::with_role_scope;
use crate::authority::{Authority, DEFAULT_SESSION, Error};
use crate::domain::grant::{GrantRecord, GrantStatus};
use crate::domain::operation::Operation;
use crate::domain::pairing::{Ask, PairingRequest};
use crate::domain::policy::Policy;
use crate::store::{GrantFilter, LiveGrant, Page, Tx};

/// A device that proved its key when it opened a connection.
#[derive(Clone, Copy, Debug)]
pub struct ProvenDevice {
    /// The device.
    pub device: DeviceId,
    /// Its key.
    pub key: PublicKey,
}

/// Who is on a connection.
#[derive(Clone, Debug)]
pub enum Party {
    /// A device that proved its key; its stored grant stands for it.
    Device {
        /// The device.
        device: DeviceId,
        /// The grant that the connection was opened by.
        grant: GrantId,
    },
    /// A client without a key, by an access token for the gateway.
    Token(TokenText),
}

/// A call that came on a connection.
#[derive(Clone, Debug)]
pub struct OnConnection {
    /// Who is on it.
    pub party: Party,
    /// The name of the RPC method, which is the `operation` that is stated.
    pub operation: String,
}

/// What a device that wants a connection gets.
#[derive(Debug)]
pub enum Admission {
    /// It is in.
    Open(Box<Opened>),
    /// Somebody has to approve it first.
    Pairing(Box<PairingNeeded>),
}

/// What a connection is decided by: a session, and the policy that it was
/// compiled under. One decision never mixes two policies.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The session.
    pub access: Arc<Access>,
    /// The policy.
    pub policy: Arc<Policy>,
}

/// A connection of a device.
#[derive(Debug)]
pub struct Opened {
    /// The row of the grant that stands behind it.
    pub record: GrantRecord,
    /// What it is decided by.
    pub standing: Standing,
    /// The sealed grant, which is the device's to keep.
    pub grant: TokenText,
}

/// What has to be approved before a device gets its connection.
#[derive(Debug)]
pub struct PairingNeeded {
    /// The request that waits.
    pub request: PairingRequest,
    /// Why there is one.
    pub why: Upgrade,
    /// The roles that the device has by now.
    pub roles: Vec<Role>,
    /// The scopes it has by now, in the role it asks for or else in all.
    pub scopes: ScopeSet,
}

/// How an ask goes beyond what a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// It has nothing.
    NotPaired,
    /// It wants more scopes.
    Scopes,
    /// It wants another role.
    Role,
    /// It says something else of itself than when it was approved.
    Metadata,
}

/// The members of a device's metadata that an approval fixes.
const PINNED: [&str; 2] = ["platform", "deviceFamily"];

impl Authority {
    /// A device that proved its key wants a connection. What it asks for beyond
    /// its grant becomes a pairing request; without scopes it asks for all that
    /// its grant gives.
    pub async fn open_connection(
        &self,
        proven: ProvenDevice,
        ask: Ask,
        address: &str,
    ) -> Result<Admission, Error> {
        let policy = self.policy();
        let mut tx = self.write().await?;
        let live = self
            .live_grant_of(&mut tx, proven.device, &ask.role)
            .await?;
        let Some(live) = live else {
            let needed = self.pairing_needed(tx, &policy, proven, ask, None, address);
            return Ok(Admission::Pairing(Box::new(needed.await?)));
        };
        let gives = self.effective(&live, policy.catalog())?;
        let wants = policy.catalog().closure(&ask.scopes);
        let unknown = ask.scopes.iter().any(|s| !policy.catalog().knows(s));
        let why = if unknown || !gives.covers(&wants) {
            Some(Upgrade::Scopes)
        } else if self.says_otherwise(&mut tx, &live.record, &ask).await? {
            Some(Upgrade::Metadata)
        } else {
            None
        };
        if let Some(why) = why {
            let held = Some((live, why));
            let needed = self.pairing_needed(tx, &policy, proven, ask, held, address);
            return Ok(Admission::Pairing(Box::new(needed.await?)));
        }
        let opened = self.open_session(&policy, &live, &ask.scopes)?;
        tx.grant_used(live.record.id, self.now()).await?;
        tx.commit().await?;
        Ok(Admission::Open(Box::new(opened)))
    }

    /// A client without a key wants a connection, by an access token that is
    /// for the gateway. Its rows must be live, like the grant's of a device.
    pub async fn open_token_connection(
        &self,
        token: &TokenText,
    ) -> Result<(Standing, GrantRecord), Error> {
        let policy = self.policy();
        let access = self.authenticate_token(token, &policy)?;
        let mut tx = self.store.read().await?;
        let session = access.session().id;
        let record = self
            .live_session(&mut tx, session, access.grant_id())
            .await?;
        Ok((Standing { access, policy }, record))
    }

    /// Another session for a connection whose grant is live still, under the
    /// policy of now.
    pub async fn renew_connection(
        &self,
        party: &Party,
        scopes: &ScopeSet,
    ) -> Result<Standing, Error> {
        let policy = self.policy();
        match party {
            Party::Token(token) => {
                let access = self.authenticate_token(token, &policy)?;
                Ok(Standing { access, policy })
            }
            Party::Device { grant, .. } => {
                let mut tx = self.write().await?;
                let live = tx.grant(*grant).await?.ok_or(Error::UnknownGrant)?;
                self.check_live(&live)?;
                let opened = self.open_session(&policy, &live, scopes)?;
                tx.grant_used(live.record.id, self.now()).await?;
                tx.commit().await?;
                Ok(opened.standing)
            }
        }
    }

    /// Whether a device has a live grant in a role.
    pub async fn is_paired(&self, device: DeviceId, role: &Role) -> Result<bool, Error> {
        let mut tx = self.store.read().await?;
        Ok(self.live_grant_of(&mut tx, device, role).await?.is_some())
    }

    /// Lets a call on a connection in for an operation. The right to do it, and
    /// containment, are measured on the device's stored grant.
    ///
    /// SECURITY: never on the scopes that a connection asked for. A client asks
    /// for what its next call needs, and approving takes what it gives besides.
    pub(crate) async fn enter_on_connection(
        &self,
        call: &Call<'_>,
        on: &OnConnection,
        operation: Operation,
        required: &[Requirement],
        policy: Arc<Policy>,
    ) -> Result<(Caller, Tx), Error> {
        let mut tx = self.write().await?;
        let kind = match &on.party {
            Party::Device { device, grant } => {
                let live = tx.grant(*grant).await?.ok_or(Error::UnknownGrant)?;
                if live.record.device() != Some(*device) {
                    return Err(Error::WrongKey);
                }
                self.check_live(&live)?;
                let chain = self.open_chain(&live)?;
                let live = LiveCaller {
                    profile: chain.profile()?,
                    record: live.record,
                    chain,
                };
                let permit =
                    self.call_session(&live, call, operation, required, &policy, *device)?;
                tx.grant_used(live.record.id, self.now()).await?;
                CallerKind::Grant(GrantCaller {
                    record: live.record,
                    chain: live.chain,
                    profile: live.profile,
                    permit,
                })
            }
            Party::Token(token) => {
                let access = self.authenticate_token(token, &policy)?;
                if operation.makes_authority() {
                    return Err(Error::GrantRequired {
                        operation,
                        request: None,
                    });
                }
                let session = access.session().id;
                let record = self
                    .live_session(&mut tx, session, access.grant_id())
                    .await?;
                let request = self.frame(&on.operation, None);
                let permit: Permit = access
                    .authenticate(&request)?
                    .authorize(&request, required)?;
                CallerKind::Session(permit, record)
            }
        };
        Ok((Caller { kind, policy }, tx))
    }

    /// What is stated of a frame: its operation, and neither method nor path.
    pub fn frame<'a>(&'a self, operation: &'a str, holder: Option<DeviceId>) -> Request<'a> {
        Request {
            now: self.now(),
            audience: self.settings.gateway_url.as_str(),
            holder,
            method: None,
            path: None,
            operation: Some(operation),
        }
    }

    fn authenticate_token(&self, token: &TokenText, policy: &Policy) -> Result<Arc<Access>, Error> {
        // A grant is told from what is no token at all: its way out is another.
        if let Ok(untrusted) = Untrusted::read(token, &self.verifier.keys())
            && let Profile::Chain(claims) = untrusted.claims()
            && claims.session.is_none()
        {
            return Err(Denial::GrantNotAccepted.into());
        }
        let now = self.now();
        let access = self
            .verifier
            .verify(token.expose(), policy.catalog(), now)?;
        // A connection proves no key in each frame: a bound token opens none.
        Arc::clone(&access).authenticate(&self.frame("", None))?;
        Ok(access)
    }

    /// The session of a connection, on the grant's stored chain.
    fn open_session(
        &self,
        policy: &Arc<Policy>,
        live: &LiveGrant,
        scopes: &ScopeSet,
    ) -> Result<Opened, Error> {
        let Some(device) = live.record.device() else {
            return Err(Error::UnknownGrant);
        };
        let chain = self.open_chain(live)?;
        let mut rng = self.entropy.rng();
        let end = self.now().plus(DEFAULT_SESSION);
        let mut caveats = vec![Caveat::Holder(device)];
        if !scopes.is_empty() {
            caveats.push(Caveat::Scopes(scopes.clone()));
        }
        let session = NewSession {
            id: SessionId::from_uuid(self.new_uuid(&mut rng)),
            audience: self.settings.gateway_url.to_string(),
            not_after: live.record.expires_at.map_or(end, |grant| grant.min(end)),
            caveats,
        };
        let keys = self.keys();
        let token = chain.append_session(&session, &keys.attestation, &mut rng)?;
        let now = self.now();
        let access = self.verifier.verify_once(&token, policy.catalog(), now)?;
        Arc::clone(&access).authenticate(&self.frame("", Some(device)))?;
        Ok(Opened {
            record: live.record.clone(),
            standing: Standing {
                access,
                policy: Arc::clone(policy),
            },
            grant: chain.seal()?,
        })
    }

    async fn live_grant_of(
        &self,
        tx: &mut Tx,
        device: DeviceId,
        role: &Role,
    ) -> Result<Option<LiveGrant>, Error> {
        let grant = tx.grant_of(device, role).await?;
        Ok(grant.filter(|grant| self.check_live(grant).is_ok()))
    }

    /// Whether a device says something else of itself than what was approved.
    /// What it did not say then is not fixed.
    async fn says_otherwise(
        &self,
        tx: &mut Tx,
        record: &GrantRecord,
        ask: &Ask,
    ) -> Result<bool, Error> {
        let Some(device) = record.device() else {
            return Ok(false);
        };
        let Some(approved) = tx.approved_request_of(device, &record.role).await? else {
            return Ok(false);
        };
        let (then, now) = (&approved.ask.metadata, &ask.metadata);
        let said = |name: &&str| then.entries().get(*name).zip(now.entries().get(*name));
        let differs =
            |(then, now): (&String, &String)| !then.trim().eq_ignore_ascii_case(now.trim());
        Ok(PINNED.iter().filter_map(said).any(differs))
    }

    /// Makes the request that has to be approved. A new grant takes the place
    /// of the old one, so the request for more names what the device has too.
    pub(super) async fn pairing_needed(
        &self,
        mut tx: Tx,
        policy: &Policy,
        proven: ProvenDevice,
        mut ask: Ask,
        held: Option<(LiveGrant, Upgrade)>,
        address: &str,
    ) -> Result<PairingNeeded, Error> {
        let others = self.live_roles(&mut tx, proven.device).await?;
        let (why, scopes) = match held {
            Some((live, why)) => {
                let has = live.record.scopes;
                let both = ask.scopes.iter().chain(has.iter()).cloned().collect();
                ask.scopes = without_implied(policy.catalog(), &both);
                (why, has)
            }
            None if others.is_empty() => (Upgrade::NotPaired, ScopeSet::new()),
            None => {
                let all = others.iter().flat_map(|r| r.scopes.iter());
                (Upgrade::Role, all.cloned().collect())
            }
        };
        // The role's own scope is given with the role and is not asked for.
        let brought = with_role_scope(
            policy,
            &Ask {
                scopes: ScopeSet::new(),
                ..ask.clone()
            },
        );
        ask.scopes = ask
            .scopes
            .iter()
            .filter(|s| !brought.contains(s))
            .cloned()
            .collect();
        let request = self
            .ask_to_pair(&mut tx, policy, proven, ask, address)
            .await?;
        tx.commit().await?;
        Ok(PairingNeeded {
            request,
            why,
            roles: others.into_iter().map(|record| record.role).collect(),
            scopes,
        })
    }

    async fn live_roles(&self, tx: &mut Tx, device: DeviceId) -> Result<Vec<GrantRecord>, Error> {
        let filter = GrantFilter {
            device: Some(device),
            status: Some(GrantStatus::Active),
        };
        let page = Page {
            after: None,
            limit: 100,
        };
        let now = self.now();
        let mut records = tx.grants(filter, page).await?;
        records.retain(|record| record.expires_at.is_none_or(|end| now < end));
        Ok(records)
    }
}

/// A set in fewer words: without what others of it imply.
fn without_implied(catalog: &Catalog, scopes: &ScopeSet) -> ScopeSet {
    let mut kept = scopes.clone();
    for scope in scopes.iter() {
        let others: ScopeSet = kept.iter().filter(|s| *s != scope).cloned().collect();
        let covered = catalog.closure(&others);
        if catalog
            .require(scope)
            .is_some_and(|r| catalog.meets(&covered, r))
        {
            kept = others;
        }
    }
    kept
}
