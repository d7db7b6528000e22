//! Invites' rows.

use hardtack_token::{DeviceId, GrantId, Role, ScopeSet, Timestamp};
use uuid::Uuid;

use crate::domain::grant::GrantStatus;
use crate::domain::ids::InviteId;
use crate::domain::invite::{Invite, InviteState};
use crate::store::grants::effective_status;
use crate::store::row::{Page, count, parsed, seconds, sized, timestamp};
use crate::store::{StoreError, Tx, on};

/// What inviting writes.
#[derive(Clone, Debug)]
pub struct NewInvite {
    /// Its id.
    pub id: InviteId,
    /// The hash of its code.
    pub code_hash: [u8; 32],
    /// The grant that it is made with.
    pub inviter: GrantId,
    /// The label that it promises.
    pub role: Role,
    /// The scopes that it promises at most.
    pub scopes: ScopeSet,
    /// What the device is to be called; empty if the device says so.
    pub name: String,
    /// The life of the grant in seconds, if it is to have an end.
    pub grant_life: Option<u64>,
    /// When it is made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    inviter: Uuid,
    inviter_device: Option<Vec<u8>>,
    inviter_status: String,
    inviter_expires_at: Option<i64>,
    role: String,
    scopes: String,
    name: String,
    grant_life: Option<i64>,
    status: String,
    device_id: Option<Vec<u8>>,
    grant_id: Option<Uuid>,
    created_at: i64,
    expires_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.inviter, g.device_id AS inviter_device, ",
            effective_status!(),
            " AS inviter_status, g.expires_at AS inviter_expires_at, i.role, i.scopes, i.name, ",
            "i.grant_life, i.status, i.device_id, i.grant_id, i.created_at, i.expires_at ",
            "FROM invite i JOIN grant_ g ON g.id = i.inviter ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE i.id = $1");
const BY_CODE: &str = select!("WHERE i.code_hash = $1");
const LIST: &str = select!("WHERE i.id > $1 ORDER BY i.id LIMIT $2");
const INSERT: &str = "INSERT INTO invite (id, code_hash, inviter, role, scopes, name, grant_life, status, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $9)";
// Once: the condition makes the second who brings it fail.
const CLOSE: &str = "UPDATE invite SET status = $1, device_id = $2, grant_id = $3 WHERE id = $4 AND status = 'open'";
const COUNT_OPEN: &str =
    "SELECT COUNT(*) FROM invite WHERE inviter = $1 AND status = 'open' AND expires_at > $2";

impl Tx {
    /// Writes a new open invite.
    pub async fn insert_invite(&mut self, new: &NewInvite) -> Result<(), StoreError> {
        let life = new.grant_life.map(|s| i64::try_from(s).unwrap_or(i64::MAX));
        on!(self, c => sqlx::query(INSERT)
            .bind(new.id.uuid())
            .bind(new.code_hash.as_slice())
            .bind(new.inviter.uuid())
            .bind(new.role.as_str())
            .bind(new.scopes.to_string())
            .bind(&new.name)
            .bind(life)
            .bind(seconds(new.created_at))
            .bind(seconds(new.expires_at))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// An invite by its id.
    pub async fn invite(&mut self, id: InviteId) -> Result<Option<Invite>, StoreError> {
        let row: Option<Row> =
            on!(self, c => sqlx::query_as(BY_ID).bind(id.uuid()).fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// An invite by the hash of its code.
    pub async fn invite_of_code(&mut self, hash: &[u8; 32]) -> Result<Option<Invite>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(BY_CODE)
            .bind(hash.as_slice())
            .fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// Invites in the order of their making.
    pub async fn invites(&mut self, page: Page<InviteId>) -> Result<Vec<Invite>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(LIST)
            .bind(page.after.map_or(Uuid::nil(), InviteId::uuid))
            .bind(i64::from(page.limit))
            .fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Brings an open invite to a final state; false if it is not open any more.
    pub async fn close_invite(
        &mut self,
        id: InviteId,
        state: InviteState,
    ) -> Result<bool, StoreError> {
        let (device, grant) = match state {
            InviteState::Open | InviteState::Revoked => (None, None),
            InviteState::Used(device, grant) => {
                (Some(device.as_bytes().to_vec()), Some(grant.uuid()))
            }
        };
        let changed = on!(self, c => sqlx::query(CLOSE)
            .bind(state.as_str())
            .bind(device.as_deref())
            .bind(grant)
            .bind(id.uuid())
            .execute(c).await.map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// The open invites that were made with a grant.
    pub async fn count_invites(
        &mut self,
        inviter: GrantId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let rows: i64 = on!(self, c => sqlx::query_scalar(COUNT_OPEN)
            .bind(inviter.uuid())
            .bind(seconds(now))
            .fetch_one(c).await)?;
        Ok(count(rows))
    }
}

impl Row {
    fn read(self) -> Result<Invite, StoreError> {
        const TABLE: &str = "invite";
        let corrupt = |column| StoreError::Corrupt {
            table: TABLE,
            column,
        };
        let device = |bytes: Option<Vec<u8>>| -> Result<Option<DeviceId>, StoreError> {
            let id = bytes.map(|bytes| sized(&bytes, TABLE, "device_id"));
            Ok(id.transpose()?.map(DeviceId::from_bytes))
        };
        let used_by = device(self.device_id)?.zip(self.grant_id.map(GrantId::from_uuid));
        let state = match (self.status.as_str(), used_by) {
            ("open", None) => InviteState::Open,
            ("used", Some((device, grant))) => InviteState::Used(device, grant),
            ("revoked", None) => InviteState::Revoked,
            _ => return Err(corrupt("status")),
        };
        let status = GrantStatus::parse(&self.inviter_status);
        Ok(Invite {
            id: InviteId::from_uuid(self.id),
            inviter: GrantId::from_uuid(self.inviter),
            inviter_device: device(self.inviter_device)?,
            inviter_status: status.ok_or_else(|| corrupt("inviter"))?,
            inviter_expires_at: self.inviter_expires_at.map(timestamp),
            role: parsed(&self.role, TABLE, "role")?,
            scopes: parsed(&self.scopes, TABLE, "scopes")?,
            name: self.name,
            grant_life: self.grant_life.and_then(|s| u64::try_from(s).ok()),
            state,
            created_at: timestamp(self.created_at),
            expires_at: timestamp(self.expires_at),
        })
    }
}
