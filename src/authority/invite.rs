//! Invites: authority that is promised now and given to whoever brings the
//! code, once. Here they are made and taken back; `redeem` is what they give.

use hardtack_token::{Role, ScopeSet};
use serde_json::json;

use crate::authority::caller::{Call, Caller, CallerKind};
use crate::authority::error::{InviteError, Shortfall};
use crate::authority::pairing::{check_ask, with_role_scope};
use crate::authority::{Authority, Error};
use crate::domain::grant::GrantRecord;
use crate::domain::ids::InviteId;
use crate::domain::invite::{Invite, InviteCode, InviteState};
use crate::domain::operation::Operation;
use crate::domain::pairing::{Ask, DeviceName, Metadata};
use crate::store::{NewInvite, Page, Tx};

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

impl Authority {
    /// Makes an invite. The code is told this once.
    pub async fn invite(
        &self,
        call: &Call<'_>,
        promise: Promise,
    ) -> Result<(Invite, InviteCode), Error> {
        let mut made = self.invite_to_all(call, &[promise]).await?;
        made.pop().ok_or(Error::NotFound("invite"))
    }

    /// Makes an invite for each promise, or none.
    pub async fn invite_to_all(
        &self,
        call: &Call<'_>,
        promises: &[Promise],
    ) -> Result<Vec<(Invite, InviteCode)>, Error> {
        let fits = |promise: &Promise| {
            (1..=MAX_LIFE).contains(&promise.life) && promise.grant_life != Some(0)
        };
        if !promises.iter().all(fits) {
            return Err(Error::InvalidRequest(format!(
                "`expires_in` must be 1 to {MAX_LIFE} seconds, and `grant_expires_in` at least 1"
            )));
        }
        let (caller, mut tx) = self.enter(call, Operation::DevicesInvite).await?;
        let mut made = Vec::with_capacity(promises.len());
        for promise in promises {
            made.push(self.make_invite(&mut tx, &caller, call, promise).await?);
        }
        tx.commit().await?;
        Ok(made)
    }

    async fn make_invite(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        call: &Call<'_>,
        promise: &Promise,
    ) -> Result<(Invite, InviteCode), Error> {
        let CallerKind::Grant(inviter) = &caller.kind else {
            return Err(Error::GrantRequired {
                operation: Operation::DevicesInvite,
                request: None,
            });
        };
        let inviter = inviter.record.id;
        check_ask(&caller.policy, &promise.ask())?;
        self.check_promise(tx, caller, promise).await?;
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
        self.audit_of(tx, caller, call, "invite.create", id, detail)
            .await?;
        let invite = tx.invite(id).await?.ok_or(Error::NotFound("invite"))?;
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

    /// One invite, and the grant that it led to.
    pub async fn show_invite(
        &self,
        call: &Call<'_>,
        id: InviteId,
    ) -> Result<(Invite, Option<GrantRecord>), Error> {
        let (_, mut tx) = self.enter(call, Operation::InvitesList).await?;
        let invite = tx.invite(id).await?.ok_or(Error::NotFound("invite"))?;
        let record = match invite.state {
            InviteState::Used(_, grant) => tx.grant(grant).await?.map(|live| live.record),
            InviteState::Open | InviteState::Revoked => None,
        };
        tx.commit().await?;
        Ok((invite, record))
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
}

impl Promise {
    /// The ask that the promise would grant.
    fn ask(&self) -> Ask {
        asked(&self.role, &self.scopes)
    }
}

impl Invite {
    /// The ask that what it promises would grant.
    pub(super) fn ask(&self) -> Ask {
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
