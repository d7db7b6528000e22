//! What is done now and then: forgetting what is over, retiring what is idle.

use hardtack_token::End;
use serde_json::json;

use crate::authority::{Authority, Error};
use crate::domain::audit::Actor;
use crate::store::Past;

/// A grant that nobody used for this long retires, in seconds: 90 days.
pub const IDLE: u64 = 90 * 24 * 3600;
/// How long requests without a grant, and invites, are kept after their end, in seconds: a day.
const REQUESTS_KEPT: u64 = 24 * 3600;
/// How many events are kept. Who missed more than these looks at the lists.
const EVENTS_KEPT: u32 = 10_000;
/// How many rows are touched in one transaction, so that none is held for long.
const BATCH: u32 = 500;

impl Authority {
    /// One round: a bounded batch of each kind.
    pub async fn maintain(&self) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.write().await?;
        for what in Past::ALL {
            let kept = match what {
                Past::Proofs | Past::Sessions | Past::Keys | Past::Feed => 0,
                Past::Requests | Past::Invites => REQUESTS_KEPT,
            };
            tx.purge(what, now.minus(kept), BATCH).await?;
        }
        tx.purge_events(EVENTS_KEPT).await?;
        let mut ended = Vec::new();
        for grant in tx.retire_idle_grants(now.minus(IDLE), BATCH).await? {
            self.end(&mut tx, grant.uuid(), End::Retired, &mut ended)
                .await?;
            let detail = json!({"reason": "idle", "days": IDLE / 86_400});
            self.audit(&mut tx, Actor::Host, "grant.retire", grant, "", detail)
                .await?;
        }
        self.commit(tx, &ended).await
    }
}
