//! Sessions' rows, and the proofs of possession that were used.

use hardtack_token::dpop::ProofId;
use hardtack_token::{DeviceId, GrantId, PublicKey, SessionId, Timestamp};
use uuid::Uuid;

use crate::store::row::{public_key, seconds, timestamp};
use crate::store::{StoreError, Tx, on};

/// A session that was given out.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its id, which is in the token too.
    pub id: SessionId,
    /// The grant it activates.
    pub grant: GrantId,
    /// The origin it is for.
    pub audience: String,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was given.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    grant_id: Uuid,
    audience: String,
    revoked: bool,
    created_at: i64,
    expires_at: i64,
}

const INSERT: &str = "INSERT INTO session (id, grant_id, audience, revoked, created_at, expires_at) VALUES ($1, $2, $3, FALSE, $4, $5)";
const BY_ID: &str =
    "SELECT grant_id, audience, revoked, created_at, expires_at FROM session WHERE id = $1";
const REVOKE: &str = "UPDATE session SET revoked = TRUE WHERE id = $1";
const KEEP_KEY: &str = "INSERT INTO bound_key (device_id, public_key, expires_at) VALUES ($1, $2, $3) ON CONFLICT (device_id) DO UPDATE SET expires_at = CASE WHEN bound_key.expires_at < excluded.expires_at THEN excluded.expires_at ELSE bound_key.expires_at END";
const BOUND_KEY: &str = "SELECT public_key FROM bound_key WHERE device_id = $1";
const SPEND: &str =
    "INSERT INTO proof (hash, expires_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING";

impl Tx {
    /// Writes a new session.
    pub async fn insert_session(&mut self, session: &SessionRecord) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(INSERT)
            .bind(session.id.uuid())
            .bind(session.grant.uuid())
            .bind(&session.audience)
            .bind(seconds(session.created_at))
            .bind(seconds(session.expires_at))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// A session by its id.
    pub async fn session(&mut self, id: SessionId) -> Result<Option<SessionRecord>, StoreError> {
        let row: Option<Row> =
            on!(self, c => sqlx::query_as(BY_ID).bind(id.uuid()).fetch_optional(c).await)?;
        Ok(row.map(|row| SessionRecord {
            id,
            grant: GrantId::from_uuid(row.grant_id),
            audience: row.audience,
            revoked: row.revoked,
            created_at: timestamp(row.created_at),
            expires_at: timestamp(row.expires_at),
        }))
    }

    /// Revokes a session.
    pub async fn revoke_session(&mut self, id: SessionId) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(REVOKE).bind(id.uuid()).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Keeps the key that a token is bound to, for as long as such a token lives.
    pub async fn keep_key(
        &mut self,
        device: DeviceId,
        key: &PublicKey,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(KEEP_KEY)
            .bind(device.as_bytes().as_slice())
            .bind(key.as_bytes().as_slice())
            .bind(seconds(until))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// A key that was kept.
    pub async fn bound_key(&mut self, device: DeviceId) -> Result<Option<PublicKey>, StoreError> {
        let row: Option<Vec<u8>> = on!(self, c => sqlx::query_scalar(BOUND_KEY)
            .bind(device.as_bytes().as_slice())
            .fetch_optional(c).await)?;
        row.map(|key| public_key(&key, "bound_key")).transpose()
    }

    /// Marks a proof as used; false if it was used before.
    pub async fn spend_proof(&mut self, proof: &ProofId) -> Result<bool, StoreError> {
        let inserted = on!(self, c => sqlx::query(SPEND)
            .bind(proof.hash.as_slice())
            .bind(seconds(proof.until))
            .execute(c).await.map(|done| done.rows_affected()))?;
        Ok(inserted == 1)
    }
}
