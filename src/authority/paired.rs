//! Pairings as a whole: who waits, and who is paired with what it said of itself.

use std::collections::HashMap;

use hardtack_token::{DeviceId, GrantId};

use crate::authority::caller::Call;
use crate::authority::{Authority, Error};
use crate::domain::grant::{GrantRecord, GrantStatus};
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
use crate::domain::pairing::{PairingRequest, RequestState};
use crate::store::{GrantFilter, Page, RequestFilter, Tx};

/// How many rows are read at once.
const BATCH: u32 = 500;

/// A live grant of a device, and the request by which it was paired. The local
/// device has none.
#[derive(Clone, Debug)]
pub struct PairedRole {
    /// The grant.
    pub record: GrantRecord,
    /// The request.
    pub request: Option<PairingRequest>,
}

/// Who waits and who is paired.
#[derive(Clone, Debug, Default)]
pub struct Pairings {
    /// The requests that wait.
    pub pending: Vec<PairingRequest>,
    /// The live grants of devices, those of one device one after the other.
    pub paired: Vec<PairedRole>,
}

impl Authority {
    /// Lists pending requests and live devices.
    pub async fn pairings(&self, call: &Call<'_>) -> Result<Pairings, Error> {
        let (caller, mut tx) = self.enter(call, Operation::PairingList).await?;
        self.need(&mut tx, &caller, Operation::DevicesList).await?;
        let pending = self.all_requests(&mut tx, "pending").await?;
        let approved = self.all_requests(&mut tx, "approved").await?;
        let mut requests: HashMap<GrantId, PairingRequest> = approved
            .into_iter()
            .filter_map(|request| match request.state {
                RequestState::Approved(grant) => Some((grant, request)),
                RequestState::Pending
                | RequestState::Rejected(_)
                | RequestState::Expired
                | RequestState::Superseded(_) => None,
            })
            .collect();
        let now = self.now();
        let mut paired = Vec::new();
        let mut after = None;
        loop {
            let page = Page {
                after,
                limit: BATCH,
            };
            let records = tx.grants(LIVE, page).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.id);
            let live = records
                .into_iter()
                .filter(|record| record.expires_at.is_none_or(|end| now < end));
            paired.extend(live.map(|record| PairedRole {
                request: requests.remove(&record.id),
                record,
            }));
        }
        tx.commit().await?;
        paired.sort_by_key(|role| role.record.device());
        Ok(Pairings { pending, paired })
    }

    /// The live grants of one device. A device may see itself.
    pub async fn paired_device(
        &self,
        call: &Call<'_>,
        device: DeviceId,
    ) -> Result<Vec<PairedRole>, Error> {
        let active = Some(GrantStatus::Active);
        let (mut tx, records) = self.grants_of(call, device, active).await?;
        let mut roles = Vec::new();
        for record in records {
            let request = tx.request_of_grant(record.id).await?;
            roles.push(PairedRole { record, request });
        }
        tx.commit().await?;
        Ok(roles)
    }

    pub(super) async fn all_requests(
        &self,
        tx: &mut Tx,
        status: &'static str,
    ) -> Result<Vec<PairingRequest>, Error> {
        let filter = RequestFilter {
            status: Some(status),
        };
        let mut all = Vec::new();
        let mut after: Option<RequestId> = None;
        loop {
            let page = Page {
                after,
                limit: BATCH,
            };
            let requests = tx.requests(filter, page, self.now()).await?;
            let Some(last) = requests.last() else {
                return Ok(all);
            };
            after = Some(last.id);
            all.extend(requests);
        }
    }
}

const LIVE: GrantFilter = GrantFilter {
    device: None,
    status: Some(GrantStatus::Active),
};
