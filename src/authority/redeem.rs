//! Redeeming invites: what is given is the inviter's own stored chain at that
//! time, narrowed. An invite is worth what its inviter is worth.

use hardtack_token::{Ended, Grant, GrantId, Role, ScopeSet, Subject, TokenText};
use serde_json::json;

use crate::authority::connection::ProvenDevice;
use crate::authority::error::InviteError;
use crate::authority::pairing::{DeviceView, free_code, with_role_scope};
use crate::authority::proof::Target;
use crate::authority::{Authority, Error};
use crate::domain::audit::Actor;
use crate::domain::ids::{InviteId, RequestId};
use crate::domain::invite::{Invite, InviteCode, InviteState, InviteStatus};
use crate::domain::operation::Operation;
use crate::domain::pairing::{Ask, DeviceName, Metadata, PairingRequest, RequestState};
use crate::domain::policy::Policy;
use crate::store::{LiveGrant, Tx};

/// The most invites that one text may name: an operator's and a node's.
const MAX_TOGETHER: usize = 2;
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

/// What a device holds by an invite that it brought when it connected.
#[derive(Debug)]
pub struct Handed {
    /// The invite.
    pub invite: InviteId,
    /// The label.
    pub role: Role,
    /// What was given.
    pub scopes: ScopeSet,
    /// What the device is called.
    pub name: DeviceName,
    /// The sealed grant.
    pub grant: TokenText,
    /// Given now; false where the same device brought it before.
    pub is_new: bool,
}

/// Who brings an invite.
#[derive(Clone, Copy)]
struct Bringer<'a> {
    proven: ProvenDevice,
    address: &'a str,
}

impl Authority {
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
        let invite = self.find_invite(&mut tx, code, address).await?;
        if let InviteState::Used(device, grant) = invite.state
            && device == proven.device
        {
            let view = self.redeemed_before(&mut tx, grant).await?;
            tx.commit().await?;
            return Ok(view);
        }
        let by = Bringer {
            proven: ProvenDevice {
                device: proven.device,
                key: proven.key,
            },
            address,
        };
        let mut ended = Vec::new();
        let given = self
            .pair_invited(&mut tx, &policy, &invite, by, ask, &mut ended)
            .await?;
        self.commit(tx, &ended).await?;
        Ok(given)
    }

    /// A device that proved its key brings invites when it opens a connection,
    /// their codes joined: all of them are given, or none is. Each gives all that
    /// it promises, in its own role, whatever this connection asks for; but a
    /// connection that asks for more is refused, and the invites stay open.
    ///
    /// INVARIANT: they belong to the first device that brings them. Where one of
    /// them is another's, none of them gives anything.
    pub async fn bring_invites(
        &self,
        codes: &str,
        proven: ProvenDevice,
        ask: &Ask,
        address: &str,
    ) -> Result<Vec<Handed>, Error> {
        self.limits.may_guess(address, self.millis())?;
        let policy = self.policy();
        let mut tx = self.write().await?;
        // SECURITY: asked again, as in `redeem_invite`.
        self.limits.may_guess(address, self.millis())?;
        let mut invites = Vec::new();
        for code in codes.splitn(MAX_TOGETHER, InviteCode::BETWEEN) {
            invites.push(self.find_invite(&mut tx, code, address).await?);
        }
        for invite in &invites {
            match invite.state {
                InviteState::Used(device, _) if device == proven.device => {}
                InviteState::Used(..) | InviteState::Open | InviteState::Revoked => {
                    check_open(invite.status_at(self.now()))?;
                }
            }
        }
        let of_role: Vec<&Invite> = invites.iter().filter(|i| i.role == ask.role).collect();
        let [entrance] = of_role.as_slice() else {
            return Err(Error::InvalidRequest(format!(
                "what was brought is not for the role `{}`",
                ask.role
            )));
        };
        let asked = InvitedAsk {
            scopes: (!ask.scopes.is_empty()).then(|| ask.scopes.clone()),
            ..InvitedAsk::default()
        };
        scopes_to_give(&policy, entrance, &asked)?;
        let by = Bringer { proven, address };
        let mut ended = Vec::new();
        let mut handed = Vec::with_capacity(invites.len());
        for invite in &invites {
            let before = match invite.state {
                InviteState::Used(_, grant) => Some(grant),
                InviteState::Open | InviteState::Revoked => None,
            };
            let given = if let Some(grant) = before {
                match self.redeemed_before(&mut tx, grant).await {
                    // It ended since, or another has taken its place.
                    Err(Error::Denied(_) | Error::UnknownGrant) => {
                        return Err(InviteError::Spent.into());
                    }
                    again => again?,
                }
            } else {
                let ask = InvitedAsk {
                    name: ask.name.clone(),
                    metadata: ask.metadata.clone(),
                    ..InvitedAsk::default()
                };
                self.pair_invited(&mut tx, &policy, invite, by, ask, &mut ended)
                    .await?
            };
            handed.push(Handed {
                invite: invite.id,
                role: invite.role.clone(),
                scopes: given.request.ask.scopes,
                name: given.request.ask.name,
                grant: given.grant.ok_or(InviteError::Spent)?,
                is_new: before.is_none(),
            });
        }
        self.commit(tx, &ended).await?;
        Ok(handed)
    }

    async fn find_invite(&self, tx: &mut Tx, code: &str, address: &str) -> Result<Invite, Error> {
        let found = match InviteCode::parse(code) {
            Some(code) => tx.invite_of_code(&code.hash()).await?,
            None => None,
        };
        found.ok_or_else(|| {
            self.limits.guessed_wrong(address, self.millis());
            InviteError::Unknown.into()
        })
    }

    /// Writes request, grant, invite and audit row. The caller commits.
    async fn pair_invited(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        invite: &Invite,
        by: Bringer<'_>,
        asked: InvitedAsk,
        ended: &mut Vec<Ended>,
    ) -> Result<DeviceView, Error> {
        let now = self.now();
        check_open(invite.status_at(now))?;
        let inviter = tx.grant(invite.inviter).await?.ok_or(InviteError::Ended)?;
        self.check_inviter(policy, &inviter, invite)?;
        let ask = Ask {
            role: invite.role.clone(),
            scopes: scopes_to_give(policy, invite, &asked)?,
            name: if invite.name.is_empty() {
                asked.name
            } else {
                DeviceName::new(&invite.name).unwrap_or_default()
            },
            metadata: asked.metadata,
        };
        let mut rng = self.entropy.rng();
        let id = RequestId::from_uuid(self.new_uuid(&mut rng));
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Device(by.proven.device),
            role: ask.role.clone(),
            scopes: ask.scopes.clone(),
            not_after: invite.grant_life.map(|seconds| now.plus(seconds)),
        };
        let chain = self.open_chain(&inviter)?;
        let chain = chain.append_grant(&grant, &self.keys().attestation, &mut rng)?;
        if let Some(before) = tx.pending_request_of(by.proven.device).await? {
            let state = match before.state_at(now) {
                RequestState::Pending => RequestState::Superseded(id),
                ended => ended,
            };
            tx.close_request(before.id, &state).await?;
        }
        let mut request = PairingRequest {
            id,
            device: by.proven.device,
            key: by.proven.key,
            ask,
            user_code: free_code(tx, &mut rng).await?,
            address: by.address.to_owned(),
            state: RequestState::Pending,
            created_at: now,
            expires_at: now.plus(self.settings.request_ttl),
            previously_revoked: tx.ever_revoked(by.proven.device).await?,
        };
        tx.insert_request(&request).await?;
        let name = request.ask.name.as_str();
        let profile = self.place_grant(tx, &grant, &chain, name, ended).await?;
        request.state = RequestState::Approved(grant.id);
        self.close(tx, &request).await?;
        let used = InviteState::Used(by.proven.device, grant.id);
        if !tx.close_invite(invite.id, used).await? {
            return Err(InviteError::Spent.into());
        }
        let detail = json!({
            "device_id": by.proven.device.to_string(),
            "request_id": id.to_string(),
            "grant_id": grant.id.to_string(),
            "inviter_grant_id": invite.inviter.to_string(),
            "role": grant.role.as_str(),
            "scopes": grant.scopes.to_strings(),
            "expires_at": profile.expires_at().map(|t| t.to_string()),
            "depth": profile.depth(),
        });
        let actor = Actor::Key(by.proven.device);
        self.audit(tx, actor, "invite.redeem", invite.id, by.address, detail)
            .await?;
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
