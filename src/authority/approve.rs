//! Approving a pairing request: what the new device gets is the approver's own
//! chain, narrowed.

use hardtack_token::{
    AuthorityId, Chain, ChainProfile, DeviceId, End, Ended, Grant, GrantId, RootKey, RootToken,
    Scope, ScopeSet, Subject, Timestamp,
};
use rand::rngs::StdRng;
use serde_json::json;

use crate::authority::caller::{Call, Caller, CallerKind, EXPOSED};
use crate::authority::error::Shortfall;
use crate::authority::pairing::with_role_scope;
use crate::authority::secrets::open_root;
use crate::authority::{Authority, Error};
use crate::domain::audit::Actor;
use crate::domain::grant::Holder;
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
use crate::domain::pairing::{DeviceName, PairingRequest, RequestState};
use crate::domain::policy::Policy;
use crate::store::{NewGrant, Tx};

/// How an approver narrows what was asked for.
#[derive(Clone, Debug, Default)]
pub struct Narrowing {
    /// Only these scopes, if any are named.
    pub scopes: Option<ScopeSet>,
    /// The life of the grant in seconds, if it is to have an end.
    pub expires_in: Option<u64>,
    /// Another name for the device than its own.
    pub name: Option<DeviceName>,
}

/// What an approval gave.
#[derive(Clone, Debug)]
pub struct Approval {
    /// The request.
    pub request: RequestId,
    /// The device.
    pub device: DeviceId,
    /// Its grant.
    pub grant: GrantId,
    /// Its label.
    pub role: hardtack_token::Role,
    /// Its scopes by name.
    pub scopes: ScopeSet,
    /// The earliest end in its chain.
    pub expires_at: Option<Timestamp>,
    /// Who approved.
    pub approved_by: Actor,
    /// The number of grants in its chain.
    pub depth: usize,
    /// What the caller should know besides.
    pub warning: Option<&'static str>,
}

impl Authority {
    /// Approves a request: state, grant and audit row in one transaction.
    pub async fn approve(
        &self,
        call: &Call<'_>,
        id: RequestId,
        narrowing: &Narrowing,
    ) -> Result<Approval, Error> {
        let entered = self.enter(call, Operation::PairingApprove).await;
        let (caller, mut tx) = entered.map_err(|error| about_request(error, id))?;
        let root = self.presented_root(&mut tx, &caller).await?;
        let mut request = self.pending(&mut tx, id).await?;
        let scopes = scopes_to_give(&caller.policy, &request, narrowing)?;
        self.check_containment(&mut tx, &caller, &request, &scopes)
            .await?;

        let mut rng = self.entropy.rng();
        let grant = Grant {
            id: GrantId::from_uuid(self.new_uuid(&mut rng)),
            subject: Subject::Device(request.device),
            role: request.ask.role.clone(),
            scopes,
            not_after: narrowing.expires_in.map(|s| self.now().plus(s)),
        };
        let chain = match &root {
            Some(root) => self.root_chain(&mut tx, root, &grant, &mut rng).await?,
            None => self.child_chain(&caller, &grant, &mut rng)?,
        };
        let mut ended = Vec::new();
        let name = narrowing.name.as_ref().unwrap_or(&request.ask.name);
        let profile = self
            .place_grant(&mut tx, &grant, &chain, name.as_str(), &mut ended)
            .await?;
        request.state = RequestState::Approved(grant.id);
        self.close(&mut tx, &request).await?;
        let warning = (root.is_some() && call.from.exposed).then_some(EXPOSED);
        let detail = json!({
            "device_id": request.device.to_string(),
            "grant_id": grant.id.to_string(),
            "role": grant.role.as_str(),
            "scopes": grant.scopes.to_strings(),
            "asked": request.ask.scopes.to_strings(),
            "expires_at": profile.expires_at().map(|t| t.to_string()),
            "depth": profile.depth(),
            "root_token_exposed": warning.is_some(),
        });
        self.audit_of(&mut tx, &caller, call, "pairing.approve", id, detail)
            .await?;
        self.commit(tx, &ended).await?;
        Ok(Approval {
            request: id,
            device: request.device,
            grant: grant.id,
            role: grant.role,
            scopes: grant.scopes,
            expires_at: profile.expires_at(),
            approved_by: caller.actor(),
            depth: profile.depth(),
            warning,
        })
    }

    /// Writes a device's new grant in the place of the one that it has in this role.
    pub(crate) async fn place_grant(
        &self,
        tx: &mut Tx,
        grant: &Grant,
        chain: &Chain,
        name: &str,
        ended: &mut Vec<Ended>,
    ) -> Result<Box<ChainProfile>, Error> {
        let Subject::Device(device) = grant.subject else {
            return Err(Error::NotAGrant);
        };
        for retired in tx.retire_grants(device, Some(&grant.role)).await? {
            self.end(tx, retired.uuid(), End::Retired, ended).await?;
        }
        let profile = chain.profile()?;
        let mut ancestors: Vec<GrantId> = profile.grants().map(|g| g.id).collect();
        // The last one is the grant itself.
        ancestors.pop();
        tx.insert_grant(&NewGrant {
            id: grant.id,
            authority: profile.authority,
            ancestors,
            holder: Holder::Device(device),
            role: grant.role.clone(),
            scopes: grant.scopes.clone(),
            name: name.to_owned(),
            local: device == self.local_device(),
            chain: self.seal_chain(grant.id, chain, &mut self.entropy.rng())?,
            created_at: self.now(),
            expires_at: profile.expires_at(),
        })
        .await?;
        Ok(profile)
    }

    /// The root private key, if the root token was presented: unsealed for this
    /// operation and wiped at its end (I2).
    async fn presented_root(&self, tx: &mut Tx, caller: &Caller) -> Result<Option<RootKey>, Error> {
        match &caller.kind {
            CallerKind::Root(token) => self.unseal_root(tx, token).await.map(Some),
            CallerKind::Grant(_) => Ok(None),
            CallerKind::Session(..) => Err(Error::GrantRequired {
                operation: Operation::PairingApprove,
                request: None,
            }),
        }
    }

    /// Opens the root private key with the root token of the active key.
    pub(crate) async fn unseal_root(
        &self,
        tx: &mut Tx,
        token: &RootToken,
    ) -> Result<RootKey, Error> {
        let keys = tx.root_keys().await?;
        let named = keys.iter().find(|key| key.id == token.id());
        // A replaced key has no seal any more: its token opens nothing.
        let sealed = named.and_then(|key| key.sealed.as_ref().map(|seal| (key, seal)));
        let (key, seal) = sealed.ok_or(Error::WrongRootToken)?;
        open_root(token, &key.public_key, seal).map_err(|_| Error::WrongRootToken)
    }

    /// INVARIANT (I1): every scope that is given, the role's included, is one
    /// that the caller holds by its stored chain. The root token is the one exception.
    async fn check_containment(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        request: &PairingRequest,
        scopes: &ScopeSet,
    ) -> Result<(), Error> {
        let catalog = caller.policy.catalog();
        let can_give = |scope: &&Scope| catalog.require(scope).is_some_and(|r| caller.has(r));
        let missing: ScopeSet = scopes.iter().filter(|s| !can_give(s)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let asked = with_role_scope(&caller.policy, &request.ask);
        Err(Error::InsufficientScope(Box::new(Shortfall {
            why: format!("nobody can give more than they hold, and you do not hold `{missing}`"),
            required: scopes.clone(),
            held: caller.held(),
            could_give: asked.iter().filter(can_give).cloned().collect(),
            others: self
                .who_can(tx, &caller.policy, Operation::PairingApprove, scopes)
                .await?,
            missing,
            request: Some(request.id),
        })))
    }

    /// The caller's stored chain with the grant on top.
    fn child_chain(
        &self,
        caller: &Caller,
        grant: &Grant,
        rng: &mut StdRng,
    ) -> Result<Chain, Error> {
        match &caller.kind {
            CallerKind::Grant(parent) => {
                let keys = self.keys();
                Ok(parent.chain.append_grant(grant, &keys.attestation, rng)?)
            }
            CallerKind::Root(_) | CallerKind::Session(..) => Err(Error::GrantRequired {
                operation: Operation::PairingApprove,
                request: None,
            }),
        }
    }

    /// A fresh authority block with the grant on top. The block is kept, so that
    /// the grant can be given a sibling without the root key.
    async fn root_chain(
        &self,
        tx: &mut Tx,
        root: &RootKey,
        grant: &Grant,
        rng: &mut StdRng,
    ) -> Result<Chain, Error> {
        let id = AuthorityId::from_uuid(self.new_uuid(rng));
        let block = root.mint_authority(id, &grant.scopes, rng)?;
        let kept = self
            .secrets()
            .seal_chain(id.uuid(), block.to_stored(), rng)?;
        tx.insert_authority_block(id, &kept).await?;
        Ok(block.append_grant(grant, &self.keys().attestation, rng)?)
    }

    pub(crate) fn local_device(&self) -> DeviceId {
        DeviceId::of(&self.secrets().local_device().verifying_key())
    }
}

/// What of an ask is given: what the approver named, or all of it, and the
/// role's scope; fewer is allowed, more never.
fn scopes_to_give(
    policy: &Policy,
    request: &PairingRequest,
    narrowing: &Narrowing,
) -> Result<ScopeSet, Error> {
    let catalog = policy.catalog();
    let Some(role_scope) = policy.role(&request.ask.role) else {
        let role = &request.ask.role;
        return Err(Error::InvalidRequest(format!(
            "role `{role}` is not declared by the policy any more"
        )));
    };
    let mut scopes = match &narrowing.scopes {
        Some(scopes) => scopes.clone(),
        None => request.ask.scopes.clone(),
    };
    if let Some(unknown) = scopes.iter().find(|s| !catalog.knows(s)) {
        return Err(Error::UnknownScope(unknown.clone()));
    }
    let asked = catalog.closure(&with_role_scope(policy, &request.ask));
    let within = |s: &&Scope| catalog.require(s).is_some_and(|r| catalog.meets(&asked, r));
    let wider: ScopeSet = scopes.iter().filter(|s| !within(s)).cloned().collect();
    if !wider.is_empty() {
        return Err(Error::WiderThanRequested(wider));
    }
    if let Some(scope) = role_scope {
        scopes.insert(scope.clone());
    }
    if scopes.is_empty() {
        return Err(Error::InvalidRequest(
            "a grant without any scope would allow nothing".to_owned(),
        ));
    }
    if narrowing.expires_in == Some(0) {
        return Err(Error::InvalidRequest(
            "`expires_in` must be at least 1".to_owned(),
        ));
    }
    Ok(scopes)
}

/// A refusal at the door names the request that was to be approved, so that its
/// way out can be a whole command.
fn about_request(error: Error, id: RequestId) -> Error {
    match error {
        Error::GrantRequired { operation, .. } => Error::GrantRequired {
            operation,
            request: Some(id),
        },
        Error::InsufficientScope(mut shortfall) => {
            shortfall.request = Some(id);
            Error::InsufficientScope(shortfall)
        }
        other => other,
    }
}
