//! Who calls the API, and whether they may.
//!
//! A grant is used by an exchange in process: its row is live, its stored blocks
//! are the presented ones byte for byte, its key is proven with this request;
//! then a real session of a minute goes through the same verifier as every
//! access token, and never leaves.

use std::sync::Arc;

use hardtack_token::{
    Access, Caveat, Chain, ChainProfile, Denial, DeviceId, GrantId, NewSession, Permit, Profile,
    Request, Requirement, RootToken, ScopeSet, SessionId, Timestamp, TokenText, Untrusted,
};

use crate::authority::connection::OnConnection;
use crate::authority::proof::{ProvenKey, Target};
use crate::authority::{Authority, CALL_SESSION, Error};
use crate::domain::audit::Actor;
use crate::domain::grant::{GrantRecord, GrantStatus};
use crate::domain::operation::Operation;
use crate::domain::policy::Policy;
use crate::store::{LiveGrant, Tx};

/// What a caller presents, as it stands in its headers.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer(TokenText),
    /// `Authorization: DPoP <token>`.
    Dpop(TokenText),
    /// A connection that was let in when it was opened.
    Connection(OnConnection),
}

/// A call of the API.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The request, which a proof must have been made for.
    pub target: Target<'a>,
    /// What the caller presents.
    pub credential: Credential,
    /// The `DPoP` header.
    pub proof: Option<&'a str>,
    /// Where the call comes from.
    pub from: From<'a>,
}

/// Where a call comes from.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The client's address, for the audit log.
    pub address: &'a str,
    /// Whether it came over plain HTTP from another host, so that others could
    /// have read what it carried.
    pub exposed: bool,
}

/// What whoever sent the root token over plain HTTP from another host is told.
pub const EXPOSED: &str = "the root token came over plain HTTP from another host: whoever could read it there has it; make another one with `hardtack root reset`";

/// A caller that may do the operation it asked for.
#[derive(Debug)]
pub struct Caller {
    /// What it called with.
    pub kind: CallerKind,
    /// The policy that was decided by.
    pub policy: Arc<Policy>,
}

/// What a caller called with.
#[derive(Debug)]
pub enum CallerKind {
    /// The root token.
    Root(RootToken),
    /// A grant with proof of its key.
    Grant(GrantCaller),
    /// An access token for the API.
    Session(Permit, GrantRecord),
}

/// A grant that was used with proof of its key.
#[derive(Debug)]
pub struct GrantCaller {
    /// Its row.
    pub record: GrantRecord,
    /// Its open chain.
    pub chain: Chain,
    /// What it says.
    pub profile: Box<ChainProfile>,
    /// The decision on the operation.
    pub permit: Permit,
}

impl Caller {
    /// The caller as it stands in the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        match &self.kind {
            CallerKind::Root(_) => Actor::Root,
            CallerKind::Grant(grant) => actor_of(&grant.record),
            CallerKind::Session(_, record) => actor_of(record),
        }
    }

    /// The row of the grant it speaks for; none for the root token.
    #[must_use]
    pub const fn record(&self) -> Option<&GrantRecord> {
        match &self.kind {
            CallerKind::Root(_) => None,
            CallerKind::Grant(grant) => Some(&grant.record),
            CallerKind::Session(_, record) => Some(record),
        }
    }

    /// The token it was decided by; none for the root token.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        match &self.kind {
            CallerKind::Root(_) => None,
            CallerKind::Grant(grant) => Some(grant.permit.access()),
            CallerKind::Session(permit, _) => Some(permit.access()),
        }
    }

    /// The device it is, if it is one.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        self.record().and_then(GrantRecord::device)
    }

    /// When it ends by itself: a session by its token, a grant by its chain.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match &self.kind {
            CallerKind::Root(_) => None,
            CallerKind::Grant(grant) => grant.record.expires_at,
            CallerKind::Session(permit, _) => Some(permit.access().expires_at()),
        }
    }

    /// Whether it has a requirement of its policy. The root token has all.
    #[must_use]
    pub fn has(&self, requirement: Requirement) -> bool {
        self.access().is_none_or(|access| {
            let catalog = self.policy.catalog();
            catalog.meets(access.scope_bits(), requirement)
        })
    }

    /// What it holds, in its token's own words.
    #[must_use]
    pub fn held(&self) -> ScopeSet {
        self.access().map_or_else(ScopeSet::all, Access::scopes)
    }

    /// Whether it is the root token, or a session that was exchanged for it:
    /// told by the row, never by a name.
    #[must_use]
    pub fn is_root(&self) -> bool {
        match self.record() {
            None => true,
            Some(record) => record.by_root() && record.device().is_none(),
        }
    }
}

pub(crate) fn actor_of(record: &GrantRecord) -> Actor {
    match record.device() {
        Some(device) => Actor::Device(device, record.id),
        None if record.by_root() => Actor::Root,
        None => Actor::Service(record.id),
    }
}

/// A grant whose row is live and whose key was proven.
pub(crate) struct LiveCaller {
    pub(crate) record: GrantRecord,
    pub(crate) chain: Chain,
    pub(crate) profile: Box<ChainProfile>,
}

impl Authority {
    /// Lets a caller in for an operation, or says why not. The transaction goes
    /// on to do what was asked; dropped, it leaves no trace of the call.
    pub async fn enter(
        &self,
        call: &Call<'_>,
        operation: Operation,
    ) -> Result<(Caller, Tx), Error> {
        let requirement = self.policy().operation(operation).map(|(_, r)| r);
        let required: &[Requirement] = requirement.as_slice();
        self.enter_with(call, operation, required).await
    }

    /// [`Authority::enter`] with other required scopes than the policy's; with
    /// none, any live credential will do.
    pub async fn enter_with(
        &self,
        call: &Call<'_>,
        operation: Operation,
        required: &[Requirement],
    ) -> Result<(Caller, Tx), Error> {
        let policy = self.policy();
        let (token, proven) = match &call.credential {
            Credential::None => return Err(Denial::MissingToken.into()),
            Credential::Bearer(token) => (token, None),
            Credential::Dpop(token) => {
                let header = call
                    .proof
                    .ok_or(hardtack_token::dpop::ProofError::Missing)?;
                let (proven, nonce) = self.check_dpop(header, call.target, Some(token.expose()))?;
                self.limits.device(proven.device, self.millis())?;
                if operation.demands_nonce() {
                    self.check_nonce(nonce.as_deref())?;
                }
                (token, Some(proven))
            }
            Credential::Connection(on) => {
                return self
                    .enter_on_connection(call, on, operation, required, policy)
                    .await;
            }
        };
        let mut tx = self.write().await?;
        if let Some(proven) = &proven {
            self.spend(&mut tx, &proven.proof).await?;
        }
        let keys = self.verifier.keys();
        let untrusted = Untrusted::read(token, &keys);
        let kind = match untrusted.as_ref().map(Untrusted::claims) {
            Ok(Profile::Root(_)) if operation.takes_root() && proven.is_none() => {
                CallerKind::Root(RootToken::read(token)?)
            }
            Ok(Profile::Root(_)) => return Err(Error::RootTokenNotAccepted),
            Ok(Profile::Chain(claims)) if claims.session.is_none() => {
                let proven = proven.ok_or(hardtack_token::dpop::ProofError::Missing)?;
                let live = self.live_grant(&mut tx, token, claims, &proven).await?;
                let permit =
                    self.call_session(&live, call, operation, required, &policy, proven.device)?;
                tx.grant_used(live.record.id, self.now()).await?;
                CallerKind::Grant(GrantCaller {
                    record: live.record,
                    chain: live.chain,
                    profile: live.profile,
                    permit,
                })
            }
            // An access token, or something that the verifier refuses with its reason.
            Ok(Profile::Chain(_)) | Err(_) => {
                self.enter_with_session(&mut tx, token, proven, call, operation, required, &policy)
                    .await?
            }
        };
        Ok((Caller { kind, policy }, tx))
    }

    /// A presented grant's row and chain, if both are live and of this very token.
    pub(crate) async fn live_grant(
        &self,
        tx: &mut Tx,
        token: &TokenText,
        claims: &ChainProfile,
        proven: &ProvenKey,
    ) -> Result<LiveCaller, Error> {
        let leaf = claims.leaf().id;
        // SECURITY: a chain may verify and still not be ours to honour: an old
        // root key out of an old backup signs block 0 as well. Only what the
        // store holds, byte for byte, is used.
        let Some(grant) = tx.grant(leaf).await? else {
            return Err(Error::UnknownGrant);
        };
        let chain = self.open_chain(&grant)?;
        if !chain.same_blocks(token) {
            return Err(Error::UnknownGrant);
        }
        if grant.record.device() != Some(proven.device) {
            return Err(Error::WrongKey);
        }
        self.check_live(&grant)?;
        let profile = chain.profile()?;
        Ok(LiveCaller {
            record: grant.record,
            chain,
            profile,
        })
    }

    /// Refuses a grant that ended.
    pub(crate) fn check_live(&self, grant: &LiveGrant) -> Result<(), Error> {
        match grant.record.status {
            GrantStatus::Revoked => return Err(Denial::Revoked.into()),
            GrantStatus::Retired => return Err(Denial::Retired.into()),
            GrantStatus::Active => {}
        }
        match grant.record.expires_at {
            Some(end) if self.now() >= end => Err(Denial::Expired(end).into()),
            Some(_) | None => Ok(()),
        }
    }

    /// The session that stands for one call: made, decided by, and dropped.
    pub(crate) fn call_session(
        &self,
        live: &LiveCaller,
        call: &Call<'_>,
        operation: Operation,
        required: &[Requirement],
        policy: &Policy,
        proven: DeviceId,
    ) -> Result<Permit, Error> {
        let mut rng = self.entropy.rng();
        let session = NewSession {
            id: SessionId::from_uuid(self.new_uuid(&mut rng)),
            audience: self.settings.issuer.to_string(),
            not_after: self.now().plus(CALL_SESSION),
            caveats: vec![Caveat::Holder(proven)],
        };
        let keys = self.keys();
        let token = live
            .chain
            .append_session(&session, &keys.attestation, &mut rng)?;
        let request = self.request(call, operation, Some(proven));
        let access = self
            .verifier
            .verify_once(&token, policy.catalog(), request.now)?;
        Ok(access
            .authenticate(&request)?
            .authorize(&request, required)?)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of `enter_with`, split for length"
    )]
    async fn enter_with_session(
        &self,
        tx: &mut Tx,
        token: &TokenText,
        proven: Option<ProvenKey>,
        call: &Call<'_>,
        operation: Operation,
        required: &[Requirement],
        policy: &Policy,
    ) -> Result<CallerKind, Error> {
        let request = self.request(call, operation, proven.as_ref().map(|p| p.device));
        let authenticated =
            self.verifier
                .authenticate(token.expose(), policy.catalog(), &request)?;
        if proven.is_some() && !authenticated.access().bound_to_holder() {
            return Err(Error::InvalidRequest(
                "this token is not bound to a key: present it as `Bearer`".to_owned(),
            ));
        }
        if operation.makes_authority() {
            return Err(Error::GrantRequired {
                operation,
                request: None,
            });
        }
        let access = authenticated.access();
        if proven.is_none() {
            self.limits.grant(access.grant_id(), self.millis())?;
        }
        let record = self
            .live_session(tx, access.session().id, access.grant_id())
            .await?;
        Ok(CallerKind::Session(
            authenticated.authorize(&request, required)?,
            record,
        ))
    }

    /// The grant's row of a session, if both rows are live.
    pub(crate) async fn live_session(
        &self,
        tx: &mut Tx,
        session: SessionId,
        grant: GrantId,
    ) -> Result<GrantRecord, Error> {
        let session = tx.session(session).await?;
        match session {
            Some(session) if session.grant == grant && !session.revoked => {}
            Some(_) => return Err(Denial::Revoked.into()),
            None => return Err(Error::UnknownGrant),
        }
        let grant = tx.grant(grant).await?.ok_or(Error::UnknownGrant)?;
        self.check_live(&grant)?;
        Ok(grant.record)
    }

    fn request<'a>(
        &'a self,
        call: &'a Call<'_>,
        operation: Operation,
        holder: Option<DeviceId>,
    ) -> Request<'a> {
        let on = match &call.credential {
            Credential::Connection(on) => Some(on),
            Credential::None | Credential::Bearer(_) | Credential::Dpop(_) => None,
        };
        Request {
            now: self.now(),
            audience: self.settings.issuer.as_str(),
            holder,
            method: on.is_none().then_some(call.target.method),
            path: on.is_none().then_some(call.target.path),
            operation: Some(on.map_or(operation.name(), |on| &on.operation)),
        }
    }
}
