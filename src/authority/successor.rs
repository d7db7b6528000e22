//! Rotation: a device gets another grant in place of the one it has, from the
//! same parent and with the same end.

use hardtack_token::{
    Chain, DeviceId, End, Grant, GrantId, Role, ScopeSet, Subject, Timestamp, TokenText,
};
use serde_json::json;

use crate::authority::caller::{Call, Caller};
use crate::authority::error::Shortfall;
use crate::authority::{Authority, Error};
use crate::domain::grant::{GrantRecord, Holder};
use crate::domain::operation::Operation;
use crate::store::{LiveGrant, NewGrant, Tx};

/// What a rotation gave.
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The grant that is used from now on.
    pub grant: GrantId,
    /// Its scopes by name.
    pub scopes: ScopeSet,
    /// When it was made.
    pub at: Timestamp,
    /// The sealed grant, where it is the caller's own. Another device fetches
    /// its own when it proves its key the next time.
    pub token: Option<TokenText>,
}

impl Authority {
    /// Replaces the grant of a device in a role, with all its scopes or fewer.
    /// The old one retires: what it approved lives.
    pub async fn rotate_grant(
        &self,
        call: &Call<'_>,
        device: DeviceId,
        role: &Role,
        scopes: Option<&ScopeSet>,
    ) -> Result<Rotated, Error> {
        let operation = Operation::DevicesRotate;
        let (caller, mut tx) = self.enter_to_end(call, operation, device).await?;
        let old = tx.grant_of(device, role).await?;
        let old = old.ok_or(Error::NotFound("device"))?;
        self.check_live(&old)?;
        let scopes = self.scopes_of_successor(&caller, &old, scopes)?;
        self.check_successor(&mut tx, &caller, device, &scopes)
            .await?;

        let mut rng = self.entropy.rng();
        let before = self.open_chain(&old)?.profile()?;
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Device(device),
            role: role.clone(),
            scopes,
            not_after: before.leaf().not_after,
        };
        // INVARIANT (I1): on the chain of the one who approved the old grant,
        // so that nothing is in it that was not given then.
        let parent = self.parent_chain(&mut tx, &old.record).await?;
        let chain = parent.append_grant(&grant, &self.keys().attestation, &mut rng)?;
        let profile = chain.profile()?;
        let ancestors: Vec<GrantId> = profile.grants().map(|g| g.id).collect();

        let mut ended = Vec::new();
        for retired in tx.retire_grants(device, Some(role)).await? {
            self.end(&mut tx, retired.uuid(), End::Retired, &mut ended)
                .await?;
        }
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority: profile.authority,
            ancestors: ancestors.iter().rev().skip(1).rev().copied().collect(),
            holder: Holder::Device(device),
            role: grant.role,
            scopes: grant.scopes.clone(),
            name: old.record.name.clone(),
            local: old.record.local,
            chain: self.seal_chain(grant.id, &chain, &mut rng)?,
            created_at: self.now(),
            expires_at: profile.expires_at(),
        })
        .await?;
        tx.follow_grant(old.record.id, grant.id).await?;
        let detail = json!({
            "role": role.as_str(),
            "scopes": grant.scopes.to_strings(),
            "grant_id": grant.id.to_string(),
            "replaced": old.record.id.to_string(),
        });
        self.audit_of(&mut tx, &caller, call, "device.rotate", device, detail)
            .await?;
        self.commit(tx, &ended).await?;
        let own = caller.device() == Some(device);
        Ok(Rotated {
            grant: grant.id,
            scopes: grant.scopes,
            at: self.now(),
            token: if own { Some(chain.seal()?) } else { None },
        })
    }

    /// The scopes of the old grant, or those that were named of them, and the
    /// role's.
    fn scopes_of_successor(
        &self,
        caller: &Caller,
        old: &LiveGrant,
        named: Option<&ScopeSet>,
    ) -> Result<ScopeSet, Error> {
        let catalog = caller.policy.catalog();
        let mut scopes = named.unwrap_or(&old.record.scopes).clone();
        if let Some(unknown) = scopes.iter().find(|s| !catalog.knows(s)) {
            return Err(Error::UnknownScope(unknown.clone()));
        }
        if let Some(Some(scope)) = caller.policy.role(&old.record.role) {
            scopes.insert(scope.clone());
        }
        if scopes.is_empty() {
            return Err(Error::InvalidRequest(
                "a grant without any scope would allow nothing".to_owned(),
            ));
        }
        let gives = self.effective(old, catalog)?;
        if gives.covers(&catalog.closure(&scopes)) {
            return Ok(scopes);
        }
        Err(Error::InvalidRequest(format!(
            "a rotation gives what the old grant gives, or less: `{}`; more is asked for by a pairing request",
            old.record.scopes
        )))
    }

    /// Whoever rotates the grant of another holds what that is given.
    async fn check_successor(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        device: DeviceId,
        scopes: &ScopeSet,
    ) -> Result<(), Error> {
        let catalog = caller.policy.catalog();
        let lacks =
            |scope: &&hardtack_token::Scope| !catalog.require(scope).is_some_and(|r| caller.has(r));
        let missing: ScopeSet = scopes.iter().filter(lacks).cloned().collect();
        if caller.device() == Some(device) || missing.is_empty() {
            return Ok(());
        }
        Err(Error::InsufficientScope(Box::new(Shortfall {
            why: format!("nobody can give more than they hold, and you do not hold `{missing}`"),
            required: scopes.clone(),
            held: caller.held(),
            others: self
                .who_can(tx, &caller.policy, Operation::DevicesRotate, scopes)
                .await?,
            missing,
            ..Shortfall::default()
        })))
    }

    async fn parent_chain(&self, tx: &mut Tx, record: &GrantRecord) -> Result<Chain, Error> {
        if let Some(parent) = record.parent {
            let parent = tx.grant(parent).await?.ok_or(Error::UnknownGrant)?;
            return self.open_chain(&parent);
        }
        let block = tx.authority_block(record.authority).await?;
        let block = block.ok_or(Error::UnknownGrant)?;
        let open = self.secrets().open_chain(block.id, &block.chain)?;
        Ok(Chain::from_stored(open))
    }
}
