//! Pairing requests: a device asks, polls and fetches; an operator lists and rejects.

use hardtack_token::{Catalog, DeviceId, GrantId, ScopeSet, TokenText};
use serde_json::json;

use crate::authority::caller::{Call, Caller};
use crate::authority::connection::ProvenDevice;
use crate::authority::proof::{ProvenKey, Target};
use crate::authority::{Authority, Error};
use crate::domain::grant::GrantStatus;
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
use crate::domain::pairing::{Ask, PairingRequest, RequestState};
use crate::domain::policy::Policy;
use crate::domain::user_code::UserCode;
use crate::store::{LiveGrant, Page, RequestFilter, Tx};

/// The most live pending requests from one address.
pub const MAX_PENDING_PER_ADDRESS: u64 = 100;
/// The most live pending requests in all.
pub const MAX_PENDING: u64 = 1000;
/// How often a device may ask for the answer, in seconds.
pub const POLL_INTERVAL: u64 = 5;

/// What a device learns of its request.
#[derive(Debug)]
pub struct DeviceView {
    /// The request.
    pub request: PairingRequest,
    /// The sealed grant, once it is approved.
    pub grant: Option<TokenText>,
}

impl Authority {
    /// A device asks to be paired. The same or a narrower ask is the same
    /// request; another ask supersedes it; a device that holds what it asks for
    /// already gets its grant.
    pub async fn request_pairing(
        &self,
        proof: Option<&str>,
        target: Target<'_>,
        ask: Ask,
        address: &str,
    ) -> Result<DeviceView, Error> {
        let proven = self.prove(proof, target)?;
        let policy = self.policy();
        let mut tx = self.write().await?;
        self.spend(&mut tx, &proven.proof).await?;
        let proven = ProvenDevice {
            device: proven.device,
            key: proven.key,
        };
        let view = self
            .place_request(&mut tx, &policy, proven, ask, address)
            .await?;
        tx.commit().await?;
        Ok(view)
    }

    /// The grant of a device that holds what it asks for, or the request for it.
    pub(crate) async fn place_request(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        proven: ProvenDevice,
        ask: Ask,
        address: &str,
    ) -> Result<DeviceView, Error> {
        check_ask(policy, &ask)?;
        if let Some(view) = self.held_already(tx, policy, proven.device, &ask).await? {
            return Ok(view);
        }
        let request = self.ask_to_pair(tx, policy, proven, ask, address).await?;
        Ok(DeviceView {
            request,
            grant: None,
        })
    }

    /// The request that stands for an ask: the one that waits, or a new one.
    pub(crate) async fn ask_to_pair(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        proven: ProvenDevice,
        ask: Ask,
        address: &str,
    ) -> Result<PairingRequest, Error> {
        check_ask(policy, &ask)?;
        let now = self.now();
        let expires_at = now.plus(self.settings.request_ttl);
        let before = tx.pending_request_of(proven.device).await?;
        if let Some(mut request) = before
            .clone()
            .filter(|r| r.is_pending(now) && r.covers(&ask))
        {
            tx.extend_request(request.id, expires_at).await?;
            request.expires_at = expires_at;
            return Ok(request);
        }
        self.limits.ask(address, self.millis())?;
        let mut rng = self.entropy.rng();
        let id = RequestId::from_uuid(self.new_uuid(&mut rng));
        if let Some(before) = before {
            let state = match before.state_at(now) {
                RequestState::Pending => RequestState::Superseded(id),
                ended => ended,
            };
            tx.close_request(before.id, &state).await?;
        }
        check_room(tx, address, now).await?;
        let request = PairingRequest {
            id,
            device: proven.device,
            key: proven.key,
            ask,
            user_code: free_code(tx, &mut rng).await?,
            address: address.to_owned(),
            state: RequestState::Pending,
            created_at: now,
            expires_at,
            previously_revoked: tx.ever_revoked(proven.device).await?,
        };
        tx.insert_request(&request).await?;
        Ok(request)
    }

    /// A device asks what became of its request. Others learn nothing, not even
    /// that there is one.
    pub async fn fetch(
        &self,
        id: RequestId,
        proof: Option<&str>,
        target: Target<'_>,
    ) -> Result<DeviceView, Error> {
        let proven = self.prove(proof, target)?;
        let mut tx = self.write().await?;
        self.spend(&mut tx, &proven.proof).await?;
        let request = tx.request(id).await?;
        let request = request
            .filter(|r| r.device == proven.device)
            .ok_or(Error::NotFound("pairing request"))?;
        let grant = match &request.state {
            RequestState::Approved(grant) => Some(self.sealed_grant(&mut tx, *grant).await?),
            RequestState::Pending
            | RequestState::Rejected(_)
            | RequestState::Expired
            | RequestState::Superseded(_) => None,
        };
        tx.commit().await?;
        Ok(DeviceView { request, grant })
    }

    /// A device fetches its newest grant in a role, with proof of its key: after
    /// a lost answer, after a rotation of keys, and on each command of the local device.
    pub async fn fetch_grant(
        &self,
        device: DeviceId,
        role: &hardtack_token::Role,
        proof: Option<&str>,
        target: Target<'_>,
    ) -> Result<(GrantId, TokenText), Error> {
        let proven = self.prove(proof, target)?;
        if proven.device != device {
            return Err(Error::NotFound("grant"));
        }
        let mut tx = self.write().await?;
        self.spend(&mut tx, &proven.proof).await?;
        let grant = tx.grant_of(device, role).await?;
        let id = grant.ok_or(Error::NotFound("grant"))?.record.id;
        let sealed = self.sealed_grant(&mut tx, id).await?;
        tx.commit().await?;
        Ok((id, sealed))
    }

    /// Lists requests for an operator.
    pub async fn pairing_requests(
        &self,
        call: &Call<'_>,
        filter: RequestFilter,
        page: Page<RequestId>,
    ) -> Result<Vec<PairingRequest>, Error> {
        let (_, mut tx) = self.enter(call, Operation::PairingList).await?;
        let requests = tx.requests(filter, page, self.now()).await?;
        tx.commit().await?;
        Ok(requests)
    }

    /// Shows one request to an operator.
    pub async fn pairing_request(
        &self,
        call: &Call<'_>,
        id: RequestId,
    ) -> Result<PairingRequest, Error> {
        let (_, mut tx) = self.enter(call, Operation::PairingShow).await?;
        let request = tx.request(id).await?;
        tx.commit().await?;
        request.ok_or(Error::NotFound("pairing request"))
    }

    /// Rejects a pending request.
    pub async fn reject(
        &self,
        call: &Call<'_>,
        id: RequestId,
        reason: Option<String>,
    ) -> Result<PairingRequest, Error> {
        let (caller, mut tx) = self.enter(call, Operation::PairingReject).await?;
        let mut request = self.pending(&mut tx, id).await?;
        request.state = RequestState::Rejected(reason.clone());
        self.close(&mut tx, &request).await?;
        let detail = json!({"device_id": request.device.to_string(), "reason": reason});
        self.audit_of(&mut tx, &caller, call, "pairing.reject", id, detail)
            .await?;
        tx.commit().await?;
        Ok(request)
    }

    /// The request if it can still be answered; else why not.
    pub(crate) async fn pending(
        &self,
        tx: &mut Tx,
        id: RequestId,
    ) -> Result<PairingRequest, Error> {
        let request = tx.request(id).await?;
        let request = request.ok_or(Error::NotFound("pairing request"))?;
        match request.state_at(self.now()) {
            RequestState::Pending => Ok(request),
            RequestState::Expired => Err(Error::RequestExpired(request.expires_at)),
            state => Err(not_pending(&state)),
        }
    }

    /// Stores a request's final state, if nobody was faster.
    pub(crate) async fn close(&self, tx: &mut Tx, request: &PairingRequest) -> Result<(), Error> {
        if tx.close_request(request.id, &request.state).await? {
            return Ok(());
        }
        let now = tx.request(request.id).await?;
        Err(now.map_or(Error::NotFound("pairing request"), |r| {
            not_pending(&r.state)
        }))
    }

    pub(crate) async fn audit_of(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        call: &Call<'_>,
        action: &'static str,
        object: impl ToString,
        detail: serde_json::Value,
    ) -> Result<(), Error> {
        self.audit(
            tx,
            caller.actor(),
            action,
            object,
            call.from.address,
            detail,
        )
        .await
    }

    pub(crate) fn prove(
        &self,
        proof: Option<&str>,
        target: Target<'_>,
    ) -> Result<ProvenKey, Error> {
        let header = proof.ok_or(hardtack_token::dpop::ProofError::Missing)?;
        let (key, _) = self.check_dpop(header, target, None)?;
        self.limits.device(key.device, self.millis())?;
        Ok(key)
    }

    pub(crate) async fn sealed_grant(&self, tx: &mut Tx, id: GrantId) -> Result<TokenText, Error> {
        let grant = tx.grant(id).await?.ok_or(Error::UnknownGrant)?;
        self.check_live(&grant)?;
        Ok(self.open_chain(&grant)?.seal()?)
    }

    /// The request that led to the live grant of this device and role, if that
    /// grant gives all that is asked.
    async fn held_already(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        device: DeviceId,
        ask: &Ask,
    ) -> Result<Option<DeviceView>, Error> {
        let Some(grant) = tx.grant_of(device, &ask.role).await? else {
            return Ok(None);
        };
        if grant.record.status != GrantStatus::Active || self.check_live(&grant).is_err() {
            return Ok(None);
        }
        let asked = with_role_scope(policy, ask);
        let catalog = policy.catalog();
        let gives = self.effective(&grant, catalog)?;
        if !gives.covers(&catalog.closure(&asked)) {
            return Ok(None);
        }
        let Some(request) = tx.request_of_grant(grant.record.id).await? else {
            return Ok(None);
        };
        let sealed = self.open_chain(&grant)?.seal()?;
        Ok(Some(DeviceView {
            request,
            grant: Some(sealed),
        }))
    }

    /// What a stored grant gives: the fold of its chain.
    pub(crate) fn effective(
        &self,
        grant: &LiveGrant,
        catalog: &Catalog,
    ) -> Result<hardtack_token::ScopeBits, Error> {
        Ok(self.open_chain(grant)?.profile()?.effective(catalog))
    }
}

/// The scopes of an ask with the one that its role brings.
pub(crate) fn with_role_scope(policy: &Policy, ask: &Ask) -> ScopeSet {
    let mut scopes = ask.scopes.clone();
    if let Some(Some(scope)) = policy.role(&ask.role) {
        scopes.insert(scope.clone());
    }
    scopes
}

pub(crate) fn check_ask(policy: &Policy, ask: &Ask) -> Result<(), Error> {
    let Some(role_scope) = policy.role(&ask.role) else {
        let known: Vec<_> = policy.roles().map(ToString::to_string).collect();
        return Err(Error::InvalidRequest(format!(
            "role `{}` is not declared by the policy; known: {}",
            ask.role,
            known.join(", ")
        )));
    };
    if let Some(unknown) = ask.scopes.iter().find(|s| !policy.catalog().knows(s)) {
        return Err(Error::UnknownScope(unknown.clone()));
    }
    if ask.scopes.is_empty() && role_scope.is_none() {
        return Err(Error::InvalidRequest(
            "`scopes` is empty, and this role brings none of its own".to_owned(),
        ));
    }
    Ok(())
}

/// Pending requests are capped, and none is evicted for another: a flood keeps
/// newcomers out for a while and takes nothing from those who wait.
async fn check_room(
    tx: &mut Tx,
    address: &str,
    now: hardtack_token::Timestamp,
) -> Result<(), Error> {
    let too_many = |why| Error::TooMany {
        why,
        retry_after: 60,
    };
    if tx.count_pending(Some(address), now).await? >= MAX_PENDING_PER_ADDRESS {
        return Err(too_many("too many pairing requests wait from this address"));
    }
    if tx.count_pending(None, now).await? >= MAX_PENDING {
        return Err(too_many("too many pairing requests wait for an answer"));
    }
    Ok(())
}

pub(crate) async fn free_code(
    tx: &mut Tx,
    rng: &mut rand::rngs::StdRng,
) -> Result<UserCode, Error> {
    loop {
        let code = UserCode::generate(rng);
        // At most a thousand of 25 billion are taken: the second draw is rare.
        if !tx.code_in_use(&code).await? {
            return Ok(code);
        }
    }
}

fn not_pending(state: &RequestState) -> Error {
    let (superseded_by, grant) = match state {
        RequestState::Superseded(by) => (Some(*by), None),
        RequestState::Approved(grant) => (None, Some(*grant)),
        RequestState::Pending | RequestState::Rejected(_) | RequestState::Expired => (None, None),
    };
    Error::NotPending {
        status: state.as_str(),
        superseded_by,
        grant,
    }
}
