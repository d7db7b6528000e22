//! Invites: authority that is promised now and given to whoever brings the
//! code, once. What is given is the inviter's own stored chain at that time,
//! narrowed: an invite is worth what its inviter is worth.

use hardtack_token::{Grant, GrantId, Role, ScopeSet, Subject};
use serde_json::json;

use crate::authority::caller::{Call, Caller, CallerKind};
use crate::authority::connection::ProvenDevice;
use crate::authority::error::{InviteError, Shortfall};
use crate::authority::pairing::{DeviceView, check_ask, free_code, with_role_scope};
use crate::authority::proof::Target;
use crate::authority::{Authority, Error};
use crate::domain::audit::Actor;
use crate::domain::ids::{InviteId, RequestId};
use crate::domain::invite::{Invite, InviteCode, InviteState, InviteStatus};
use crate::domain::operation::Operation;
use crate::domain::pairing::{Ask, DeviceName, Metadata, PairingRequest, RequestState};
use crate::domain::policy::Policy;
use crate::store::{LiveGrant, NewInvite, Page, Tx};

/// The life of an invite where nothing is said, in seconds.
pub const DEFAULT_LIFE: u64 = 900;
/// The longest life of an invite, in seconds: a week.
pub const MAX_LIFE: u64 = 7 * 24 * 3600;
/// The most open invites of one grant.
pub const MAX_OPEN: u64 = 100;

/// What an invite is to promise.
#[derive(Clone, Debug)]
pub struct Promise {
    /// The label.
    pub role: Role,
    /// The scopes at most.
    pub scopes: ScopeSet,
    /// What the device is to be called; empty if it says so itself.
    pub name: DeviceName,
    /// The life of the invite, in seconds.
    pub life: u64,
    /// The life of the grant in seconds, if it is to have an end.
    pub grant_life: Option<u64>,
}

/// What a device that brings an invite asks for.
#[derive(Clone, Debug, Default)]
pub struct InvitedAsk {
    /// The label, if it says one: the invite's.
    pub role: Option<Role>,
    /// Fewer scopes than the invite promises, if it says some.
    pub scopes: Option<ScopeSet>,
    /// What it calls itself.
    pub name: DeviceName,
    /// What else it says of itself.
    pub metadata: Metadata,
}

impl Authority {
    /// Makes an invite. The code is told this once.
    pub async fn invite(
        &self,
        call: &Call<'_>,
        promise: Promise,
    ) -> Result<(Invite, InviteCode), Error> {
        if !(1..=MAX_LIFE).contains(&promise.life) || promise.grant_life == Some(0) {
            return Err(Error::InvalidRequest(format!(
                "`expires_in` must be 1 to {MAX_LIFE} seconds, and `grant_expires_in` at least 1"
            )));
        }
        let (caller, mut tx) = self.enter(call, Operation::DevicesInvite).await?;
        let CallerKind::Grant(inviter) = &caller.kind else {
            return Err(Error::GrantRequired {
                operation: Operation::DevicesInvite,
                request: None,
            });
        };
        let inviter = inviter.record.id;
        check_ask(&caller.policy, &promise.ask())?;
        self.check_promise(&mut tx, &caller, &promise).await?;
        let now = self.now();
        if tx.count_invites(inviter, now).await? >= MAX_OPEN {
            return Err(Error::TooMany {
                why: "too many invites of this grant wait to be used",
                retry_after: 60,
            });
        }
        let mut rng = self.entropy.rng();
        let code = InviteCode::generate(&mut rng);
        let id = InviteId::from_uuid(self.new_uuid(&mut rng));
        let expires_at = now.plus(promise.life);
        tx.insert_invite(&NewInvite {
            id,
            code_hash: code.hash(),
            inviter,
            role: promise.role.clone(),
            scopes: promise.scopes.clone(),
            name: promise.name.as_str().to_owned(),
            grant_life: promise.grant_life,
            created_at: now,
            expires_at,
        })
        .await?;
        let detail = json!({
            "role": promise.role.as_str(),
            "scopes": promise.scopes.to_strings(),
            "expires_at": expires_at.to_string(),
            "grant_expires_in": promise.grant_life,
        });
        self.audit_of(&mut tx, &caller, call, "invite.create", id, detail)
            .await?;
        let invite = tx.invite(id).await?.ok_or(Error::NotFound("invite"))?;
        tx.commit().await?;
        Ok((invite, code))
    }

    /// Lists invites. Their codes are not known any more.
    pub async fn invites(
        &self,
        call: &Call<'_>,
        page: Page<InviteId>,
    ) -> Result<Vec<Invite>, Error> {
        let (_, mut tx) = self.enter(call, Operation::InvitesList).await?;
        let invites = tx.invites(page).await?;
        tx.commit().await?;
        Ok(invites)
    }

    /// Takes an open invite back: one's own, one of a device below one's own
    /// grant, or with the right to end any device.
    pub async fn revoke_invite(&self, call: &Call<'_>, id: InviteId) -> Result<Invite, Error> {
        let (caller, mut tx) = self.enter(call, Operation::InvitesRevoke).await?;
        let invite = tx.invite(id).await?.ok_or(Error::NotFound("invite"))?;
        let mut is_own = caller.is_root();
        if let (Some(record), Some(inviter)) = (caller.record(), invite.inviter_device) {
            is_own |= record.id == invite.inviter
                || caller.device() == Some(inviter)
                || tx.is_below(inviter, record.id).await?;
        }
        if !is_own {
            self.need(&mut tx, &caller, Operation::DevicesEndAny)
                .await?;
        }
        if let InviteState::Used(..) = invite.state {
            return Err(InviteError::Spent.into());
        }
        if tx.close_invite(id, InviteState::Revoked).await? {
            self.audit_of(&mut tx, &caller, call, "invite.revoke", id, json!({}))
                .await?;
        }
        let invite = tx.invite(id).await?.ok_or(Error::NotFound("invite"))?;
        tx.commit().await?;
        Ok(invite)
    }

    /// A device brings an invite and is paired without another approval. The
    /// same device may bring it again, after a lost answer.
    pub async fn redeem_invite(
        &self,
        code: &str,
        proof: Option<&str>,
        target: Target<'_>,
        ask: InvitedAsk,
        address: &str,
    ) -> Result<DeviceView, Error> {
        let proven = self.prove(proof, target)?;
        self.limits.may_guess(address, self.millis())?;
        let policy = self.policy();
        let mut tx = self.write().await?;
        self.spend(&mut tx, &proven.proof).await?;
        // SECURITY: asked again where writers come one after the other: guesses
        // that came together are counted one by one.
        self.limits.may_guess(address, self.millis())?;
        let found = match InviteCode::parse(code) {
            Some(code) => tx.invite_of_code(&code.hash()).await?,
            None => None,
        };
        let Some(invite) = found else {
            self.limits.guessed_wrong(address, self.millis());
            return Err(InviteError::Unknown.into());
        };
        if let InviteState::Used(device, grant) = invite.state
            && device == proven.device
        {
            let view = self.redeemed_before(&mut tx, grant).await?;
            tx.commit().await?;
            return Ok(view);
        }
        check_open(invite.status_at(self.now()))?;
        let inviter = tx.grant(invite.inviter).await?.ok_or(InviteError::Ended)?;
        self.check_inviter(&policy, &inviter, &invite)?;
        let scopes = scopes_to_give(&policy, &invite, &ask)?;
        let proven = ProvenDevice {
            device: proven.device,
            key: proven.key,
        };
        let ask = Ask {
            role: invite.role.clone(),
            scopes,
            name: if invite.name.is_empty() {
                ask.name
            } else {
                DeviceName::new(&invite.name).unwrap_or_default()
            },
            metadata: ask.metadata,
        };
        self.pair_invited(tx, &invite, &inviter, proven, ask, address)
            .await
    }

    /// Request, grant, invite and audit row in one transaction.
    async fn pair_invited(
        &self,
        mut tx: Tx,
        invite: &Invite,
        inviter: &LiveGrant,
        proven: ProvenDevice,
        ask: Ask,
        address: &str,
    ) -> Result<DeviceView, Error> {
        let now = self.now();
        let mut rng = self.entropy.rng();
        let id = RequestId::from_uuid(self.new_uuid(&mut rng));
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Device(proven.device),
            role: ask.role.clone(),
            scopes: ask.scopes.clone(),
            not_after: invite.grant_life.map(|seconds| now.plus(seconds)),
        };
        let chain = self.open_chain(inviter)?;
        let chain = chain.append_grant(&grant, &self.keys().attestation, &mut rng)?;
        if let Some(before) = tx.pending_request_of(proven.device).await? {
            let state = match before.state_at(now) {
                RequestState::Pending => RequestState::Superseded(id),
                ended => ended,
            };
            tx.close_request(before.id, &state).await?;
        }
        let mut request = PairingRequest {
            id,
            device: proven.device,
            key: proven.key,
            ask,
            user_code: free_code(&mut tx, &mut rng).await?,
            address: address.to_owned(),
            state: RequestState::Pending,
            created_at: now,
            expires_at: now.plus(self.settings.request_ttl),
            previously_revoked: tx.ever_revoked(proven.device).await?,
        };
        tx.insert_request(&request).await?;
        let mut ended = Vec::new();
        let name = request.ask.name.as_str();
        let profile = self
            .place_grant(&mut tx, &grant, &chain, name, &mut ended)
            .await?;
        request.state = RequestState::Approved(grant.id);
        self.close(&mut tx, &request).await?;
        let used = InviteState::Used(proven.device, grant.id);
        if !tx.close_invite(invite.id, used).await? {
            return Err(InviteError::Spent.into());
        }
        let detail = json!({
            "device_id": proven.device.to_string(),
            "request_id": id.to_string(),
            "grant_id": grant.id.to_string(),
            "inviter_grant_id": invite.inviter.to_string(),
            "role": grant.role.as_str(),
            "scopes": grant.scopes.to_strings(),
            "expires_at": profile.expires_at().map(|t| t.to_string()),
            "depth": profile.depth(),
        });
        let actor = Actor::Key(proven.device);
        self.audit(&mut tx, actor, "invite.redeem", invite.id, address, detail)
            .await?;
        self.commit(tx, &ended).await?;
        Ok(DeviceView {
            request,
            grant: Some(chain.seal()?),
        })
    }

    /// What a device got when it brought the invite before.
    async fn redeemed_before(&self, tx: &mut Tx, grant: GrantId) -> Result<DeviceView, Error> {
        let request = tx.request_of_grant(grant).await?;
        let request = request.ok_or(InviteError::Spent)?;
        Ok(DeviceView {
            request,
            grant: Some(self.sealed_grant(tx, grant).await?),
        })
    }

    /// INVARIANT (I1): an invite promises what its maker holds, the role's scope
    /// included.
    async fn check_promise(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        promise: &Promise,
    ) -> Result<(), Error> {
        let catalog = caller.policy.catalog();
        let promised = with_role_scope(&caller.policy, &promise.ask());
        let holds = |scope| catalog.require(scope).is_some_and(|r| caller.has(r));
        let missing: ScopeSet = promised.iter().filter(|s| !holds(s)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::InsufficientScope(Box::new(Shortfall {
            why: format!("nobody can promise more than they hold, and you do not hold `{missing}`"),
            held: caller.held(),
            others: self
                .who_can(tx, &caller.policy, Operation::DevicesInvite, &promised)
                .await?,
            required: promised,
            missing,
            ..Shortfall::default()
        })))
    }

    /// INVARIANT (I1): measured again when the invite is brought, on the
    /// inviter's live row and stored chain, under the policy of now: an invite
    /// dies with its inviter's grant, and with its inviter's right to invite.
    fn check_inviter(
        &self,
        policy: &Policy,
        inviter: &LiveGrant,
        invite: &Invite,
    ) -> Result<(), Error> {
        self.check_live(inviter).map_err(|_| InviteError::Ended)?;
        let catalog = policy.catalog();
        let gives = self.effective(inviter, catalog)?;
        let may_invite = policy
            .operation(Operation::DevicesInvite)
            .is_none_or(|(_, needed)| catalog.meets(&gives, needed));
        let promised = with_role_scope(policy, &invite.ask());
        let holds = |scope| {
            catalog
                .require(scope)
                .is_some_and(|r| catalog.meets(&gives, r))
        };
        if may_invite && promised.iter().all(holds) {
            Ok(())
        } else {
            Err(InviteError::Ended.into())
        }
    }
}

impl Promise {
    /// The ask that the promise would grant.
    fn ask(&self) -> Ask {
        asked(&self.role, &self.scopes)
    }
}

impl Invite {
    fn ask(&self) -> Ask {
        asked(&self.role, &self.scopes)
    }
}

fn asked(role: &Role, scopes: &ScopeSet) -> Ask {
    Ask {
        role: role.clone(),
        scopes: scopes.clone(),
        name: DeviceName::default(),
        metadata: Metadata::default(),
    }
}

fn check_open(status: InviteStatus) -> Result<(), InviteError> {
    match status {
        InviteStatus::Open => Ok(()),
        InviteStatus::Used => Err(InviteError::Spent),
        InviteStatus::Expired => Err(InviteError::Expired),
        InviteStatus::Revoked | InviteStatus::Ended => Err(InviteError::Ended),
    }
}

/// All that the invite promises, or what of it is asked for; the role's scope
/// comes with the role.
fn scopes_to_give(policy: &Policy, invite: &Invite, ask: &InvitedAsk) -> Result<ScopeSet, Error> {
    if ask.role.as_ref().is_some_and(|role| *role != invite.role) {
        return Err(Error::InvalidRequest(format!(
            "this invite is for the role `{}`",
            invite.role
        )));
    }
    let catalog = policy.catalog();
    let mut scopes = ask.scopes.clone().unwrap_or_else(|| invite.scopes.clone());
    if let Some(unknown) = scopes.iter().find(|s| !catalog.knows(s)) {
        return Err(Error::UnknownScope(unknown.clone()));
    }
    let promised = catalog.closure(&with_role_scope(policy, &invite.ask()));
    let within = |s: &&_| {
        catalog
            .require(s)
            .is_some_and(|r| catalog.meets(&promised, r))
    };
    let wider: ScopeSet = scopes.iter().filter(|s| !within(s)).cloned().collect();
    if !wider.is_empty() {
        return Err(Error::WiderThanInvite(wider));
    }
    if let Some(Some(scope)) = policy.role(&invite.role) {
        scopes.insert(scope.clone());
    }
    if scopes.is_empty() {
        return Err(Error::InvalidRequest(
            "a grant without any scope would allow nothing".to_owned(),
        ));
    }
    Ok(scopes)
}
