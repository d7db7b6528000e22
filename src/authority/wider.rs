//! A device on a connection asks for more than it has, and waits for the answer.

use hardtack_token::{DeviceId, GrantId, ScopeSet, TokenText};

use crate::authority::connection::{ProvenDevice, Upgrade};
use crate::authority::{Authority, Error};
use crate::domain::ids::RequestId;
use crate::domain::pairing::{PairingRequest, RequestState};

/// What became of a device's own request.
#[derive(Debug)]
pub struct OwnRequest {
    /// The request.
    pub request: PairingRequest,
    /// The sealed grant and its scopes, once it is approved.
    pub grant: Option<(TokenText, ScopeSet)>,
}

impl Authority {
    /// The request of a device for more scopes than its grant gives; if it gives
    /// them already, the request by which it was paired.
    ///
    /// What it says of itself is what was approved, whatever it says now.
    pub async fn ask_for_more(
        &self,
        device: DeviceId,
        grant: GrantId,
        scopes: ScopeSet,
        address: &str,
    ) -> Result<PairingRequest, Error> {
        let policy = self.policy();
        let mut tx = self.write().await?;
        let live = tx.grant(grant).await?.ok_or(Error::UnknownGrant)?;
        self.check_live(&live)?;
        let before = tx
            .request_of_grant(grant)
            .await?
            .filter(|request| request.device == device)
            .ok_or(Error::NotFound("pairing request"))?;
        if let Some(unknown) = scopes.iter().find(|s| !policy.catalog().knows(s)) {
            return Err(Error::UnknownScope(unknown.clone()));
        }
        let gives = self.effective(&live, policy.catalog())?;
        if gives.covers(&policy.catalog().closure(&scopes)) {
            return Ok(before);
        }
        let proven = ProvenDevice {
            device,
            key: before.key,
        };
        let mut ask = before.ask;
        ask.scopes = scopes;
        let held = Some((live, Upgrade::Scopes));
        let needed = self.pairing_needed(tx, &policy, proven, ask, held, address);
        Ok(needed.await?.request)
    }

    /// What became of a request of this device; nothing of another's.
    pub async fn own_request(&self, device: DeviceId, id: RequestId) -> Result<OwnRequest, Error> {
        let mut tx = self.store.read().await?;
        let request = tx.request(id).await?;
        let mut request = request
            .filter(|request| request.device == device)
            .ok_or(Error::NotFound("pairing request"))?;
        request.state = request.state_at(self.now());
        let grant = match &request.state {
            RequestState::Approved(grant) => {
                let live = tx.grant(*grant).await?.ok_or(Error::UnknownGrant)?;
                self.check_live(&live)?;
                Some((self.open_chain(&live)?.seal()?, live.record.scopes))
            }
            RequestState::Pending
            | RequestState::Rejected(_)
            | RequestState::Expired
            | RequestState::Superseded(_) => None,
        };
        Ok(OwnRequest { request, grant })
    }
}
