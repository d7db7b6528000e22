//! What happened to pairing requests since one looked the last time, whoever
//! did it and on whatever node.

use std::collections::BTreeSet;

use crate::authority::{Authority, Error};
use crate::domain::ids::RequestId;
use crate::domain::pairing::PairingRequest;

/// How pairing requests stand.
#[derive(Clone, Debug, Default)]
pub struct PairingNews {
    /// Those that wait.
    pub pending: Vec<PairingRequest>,
    /// Those that were known to wait and do not any more.
    pub resolved: Vec<PairingRequest>,
}

impl Authority {
    /// Looks at the requests that wait, and at what became of those in `known`.
    /// It is for this node itself: who may be told is the caller's to decide.
    pub async fn look_at_pairings(
        &self,
        known: &BTreeSet<RequestId>,
    ) -> Result<PairingNews, Error> {
        let mut tx = self.store.read().await?;
        let pending = self.all_requests(&mut tx, "pending").await?;
        let waits: BTreeSet<RequestId> = pending.iter().map(|request| request.id).collect();
        let mut resolved = Vec::new();
        for id in known.difference(&waits) {
            // One that is gone was purged: it ended long ago.
            resolved.extend(tx.request(*id).await?);
        }
        Ok(PairingNews { pending, resolved })
    }
}
