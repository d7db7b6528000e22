//! Forgetting what is over, in bounded batches.

use hardtack_token::Timestamp;

use crate::store::row::seconds;
use crate::store::{StoreError, Tx, on};

/// A kind of rows that end by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Proofs, which are then refused for their age alone.
    Proofs,
    /// Sessions.
    Sessions,
    /// Keys that no live token is bound to.
    Keys,
    /// Entries of the revocation feed that no live token contains.
    Feed,
    /// Pairing requests without a grant.
    Requests,
    /// Invites.
    Invites,
}

impl Past {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Proofs,
        Self::Sessions,
        Self::Keys,
        Self::Feed,
        Self::Requests,
        Self::Invites,
    ];

    const fn delete(self) -> &'static str {
        match self {
            Self::Proofs => {
                "DELETE FROM proof WHERE hash IN (SELECT hash FROM proof WHERE expires_at < $1 LIMIT $2)"
            }
            Self::Sessions => {
                "DELETE FROM session WHERE id IN (SELECT id FROM session WHERE expires_at < $1 LIMIT $2)"
            }
            Self::Keys => {
                "DELETE FROM bound_key WHERE device_id IN (SELECT device_id FROM bound_key WHERE expires_at < $1 LIMIT $2)"
            }
            Self::Feed => {
                "DELETE FROM ended WHERE seq IN (SELECT seq FROM ended WHERE until < $1 LIMIT $2)"
            }
            Self::Requests => {
                "DELETE FROM pairing_request WHERE id IN (SELECT id FROM pairing_request WHERE expires_at < $1 AND status <> 'approved' LIMIT $2)"
            }
            Self::Invites => {
                "DELETE FROM invite WHERE id IN (SELECT id FROM invite WHERE expires_at < $1 LIMIT $2)"
            }
        }
    }
}

impl Tx {
    /// Deletes up to `limit` rows that ended before `before`, and says how many.
    pub async fn purge(
        &mut self,
        what: Past,
        before: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let deleted = on!(self, c => sqlx::query(what.delete())
            .bind(seconds(before))
            .bind(i64::from(limit))
            .execute(c).await.map(|done| done.rows_affected()))?;
        Ok(deleted)
    }
}
