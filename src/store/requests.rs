//! Pairing requests' rows.

use hardtack_token::{DeviceId, GrantId, PublicKey, Role, Timestamp};
use uuid::Uuid;

use crate::domain::event::EventKind;
use crate::domain::ids::RequestId;
use crate::domain::pairing::{Ask, DeviceName, Metadata, PairingRequest, RequestState};
use crate::domain::user_code::UserCode;
use crate::store::row::{Page, count, parsed, public_key, seconds, sized, timestamp};
use crate::store::{StoreError, Tx, on};

/// Which requests to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestFilter {
    /// Only those in this state, by its word; `expired` are pending ones past their time.
    pub status: Option<&'static str>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    device_id: Vec<u8>,
    public_key: Vec<u8>,
    role: String,
    scopes: String,
    name: String,
    metadata: String,
    user_code: String,
    address: String,
    status: String,
    superseded_by: Option<Uuid>,
    grant_id: Option<Uuid>,
    reason: Option<String>,
    previously_revoked: bool,
    created_at: i64,
    expires_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, device_id, public_key, role, scopes, name, metadata, user_code, address, ",
            "status, superseded_by, grant_id, reason, previously_revoked, created_at, expires_at ",
            "FROM pairing_request ",
            $rest
        )
    };
}

const BY_ID: &str = select!("WHERE id = $1");
const PENDING_OF: &str = select!("WHERE device_id = $1 AND status = 'pending'");
const OF_GRANT: &str = select!("WHERE grant_id = $1");
const APPROVED_OF: &str = select!(
    "WHERE device_id = $1 AND role = $2 AND status = 'approved' ORDER BY created_at DESC, id DESC LIMIT 1"
);
const LIST: &str = select!(
    "WHERE id > $1 AND ($2 = '' OR (status = $2 AND ($2 <> 'pending' OR expires_at > $3))) ORDER BY id LIMIT $4"
);
const EXPIRED: &str =
    select!("WHERE id > $1 AND status = 'pending' AND expires_at <= $2 ORDER BY id LIMIT $3");
const INSERT: &str = "INSERT INTO pairing_request (id, device_id, public_key, role, scopes, name, metadata, user_code, address, status, previously_revoked, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', $10, $11, $12)";
const EXTEND: &str =
    "UPDATE pairing_request SET expires_at = $1 WHERE id = $2 AND status = 'pending'";
// A final state is never left: the condition makes the transition fail if
// somebody else was faster.
const CLOSE: &str = "UPDATE pairing_request SET status = $1, grant_id = $2, superseded_by = $3, reason = $4 WHERE id = $5 AND status = 'pending'";
const FOLLOW: &str = "UPDATE pairing_request SET grant_id = $1 WHERE grant_id = $2";
const PENDING_COUNT: &str = "SELECT COUNT(*) FROM pairing_request WHERE status = 'pending' AND expires_at > $1 AND ($2 = '' OR address = $2)";
const CODE_IN_USE: &str =
    "SELECT COUNT(*) FROM pairing_request WHERE user_code = $1 AND status = 'pending'";
const KEY_OF_DEVICE: &str = "SELECT public_key FROM pairing_request WHERE device_id = $1 LIMIT 1";

impl Tx {
    /// A request by its id.
    pub async fn request(&mut self, id: RequestId) -> Result<Option<PairingRequest>, StoreError> {
        let row: Option<Row> =
            on!(self, c => sqlx::query_as(BY_ID).bind(id.uuid()).fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The request of a device that is stored as pending, expired or not.
    pub async fn pending_request_of(
        &mut self,
        device: DeviceId,
    ) -> Result<Option<PairingRequest>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(PENDING_OF)
            .bind(device.as_bytes().as_slice())
            .fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The request that led to a grant; the local device's has none.
    pub async fn request_of_grant(
        &mut self,
        grant: GrantId,
    ) -> Result<Option<PairingRequest>, StoreError> {
        let row: Option<Row> =
            on!(self, c => sqlx::query_as(OF_GRANT).bind(grant.uuid()).fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The request of a device in a role that was approved last.
    pub async fn approved_request_of(
        &mut self,
        device: DeviceId,
        role: &Role,
    ) -> Result<Option<PairingRequest>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(APPROVED_OF)
            .bind(device.as_bytes().as_slice())
            .bind(role.as_str())
            .fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The public key of a device that asked to be paired at some time.
    pub async fn key_of_device(
        &mut self,
        device: DeviceId,
    ) -> Result<Option<PublicKey>, StoreError> {
        let row: Option<Vec<u8>> = on!(self, c => sqlx::query_scalar(KEY_OF_DEVICE)
            .bind(device.as_bytes().as_slice())
            .fetch_optional(c).await)?;
        row.map(|key| public_key(&key, "pairing_request"))
            .transpose()
    }

    /// Requests in the order of their making.
    pub async fn requests(
        &mut self,
        filter: RequestFilter,
        page: Page<RequestId>,
        now: Timestamp,
    ) -> Result<Vec<PairingRequest>, StoreError> {
        let after = page.after.map_or(Uuid::nil(), RequestId::uuid);
        let limit = i64::from(page.limit);
        let now = seconds(now);
        let rows: Vec<Row> = if filter.status == Some("expired") {
            on!(self, c => sqlx::query_as(EXPIRED)
                .bind(after).bind(now).bind(limit)
                .fetch_all(c).await)?
        } else {
            on!(self, c => sqlx::query_as(LIST)
                .bind(after).bind(filter.status.unwrap_or_default()).bind(now).bind(limit)
                .fetch_all(c).await)?
        };
        rows.into_iter().map(Row::read).collect()
    }

    /// Writes a new pending request.
    pub async fn insert_request(&mut self, request: &PairingRequest) -> Result<(), StoreError> {
        let metadata = serde_json::json!(request.ask.metadata.entries()).to_string();
        on!(self, c => sqlx::query(INSERT)
            .bind(request.id.uuid())
            .bind(request.device.as_bytes().as_slice())
            .bind(request.key.as_bytes().as_slice())
            .bind(request.ask.role.as_str())
            .bind(request.ask.scopes.to_string())
            .bind(request.ask.name.as_str())
            .bind(&metadata)
            .bind(request.user_code.as_str())
            .bind(&request.address)
            .bind(request.previously_revoked)
            .bind(seconds(request.created_at))
            .bind(seconds(request.expires_at))
            .execute(c).await.map(drop))?;
        self.event(EventKind::Requested, request.id.uuid()).await
    }

    /// Moves the end of a pending request. Nothing else of it ever changes.
    pub async fn extend_request(
        &mut self,
        id: RequestId,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(EXTEND)
            .bind(seconds(expires_at))
            .bind(id.uuid())
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Brings a pending request to a final state; false if it is not pending any more.
    pub async fn close_request(
        &mut self,
        id: RequestId,
        state: &RequestState,
    ) -> Result<bool, StoreError> {
        let (grant, by, reason) = match state {
            RequestState::Pending | RequestState::Expired => (None, None, None),
            RequestState::Approved(grant) => (Some(grant.uuid()), None, None),
            RequestState::Rejected(reason) => (None, None, reason.as_deref()),
            RequestState::Superseded(by) => (None, Some(by.uuid()), None),
        };
        let changed = on!(self, c => sqlx::query(CLOSE)
            .bind(state.as_str())
            .bind(grant)
            .bind(by)
            .bind(reason)
            .bind(id.uuid())
            .execute(c).await.map(|done| done.rows_affected()))?;
        let kind = match state {
            // Nothing of interest: who looks sees it by the time.
            RequestState::Pending | RequestState::Expired => None,
            RequestState::Approved(_) => Some(EventKind::Approved),
            RequestState::Rejected(_) => Some(EventKind::Rejected),
            RequestState::Superseded(_) => Some(EventKind::Superseded),
        };
        if let (1, Some(kind)) = (changed, kind) {
            self.event(kind, id.uuid()).await?;
        }
        Ok(changed == 1)
    }

    /// Has the request that led to a grant lead to the grant that replaced it.
    pub async fn follow_grant(&mut self, from: GrantId, to: GrantId) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(FOLLOW)
            .bind(to.uuid())
            .bind(from.uuid())
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// The live pending requests from an address, or from all.
    pub async fn count_pending(
        &mut self,
        address: Option<&str>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let rows: i64 = on!(self, c => sqlx::query_scalar(PENDING_COUNT)
            .bind(seconds(now))
            .bind(address.unwrap_or_default())
            .fetch_one(c).await)?;
        Ok(count(rows))
    }

    /// Whether a pending request has this code.
    pub async fn code_in_use(&mut self, code: &UserCode) -> Result<bool, StoreError> {
        let rows: i64 = on!(self, c => sqlx::query_scalar(CODE_IN_USE)
            .bind(code.as_str())
            .fetch_one(c).await)?;
        Ok(rows > 0)
    }
}

impl Row {
    fn read(self) -> Result<PairingRequest, StoreError> {
        const TABLE: &str = "pairing_request";
        let corrupt = |column| StoreError::Corrupt {
            table: TABLE,
            column,
        };
        let key = public_key(&self.public_key, TABLE)?;
        let metadata = serde_json::from_str(&self.metadata).map_err(|_| corrupt("metadata"))?;
        let state = match (self.status.as_str(), self.grant_id, self.superseded_by) {
            ("pending", None, None) => RequestState::Pending,
            ("approved", Some(grant), None) => RequestState::Approved(GrantId::from_uuid(grant)),
            ("rejected", None, None) => RequestState::Rejected(self.reason),
            ("expired", None, None) => RequestState::Expired,
            ("superseded", None, Some(by)) => RequestState::Superseded(RequestId::from_uuid(by)),
            _ => return Err(corrupt("status")),
        };
        Ok(PairingRequest {
            id: RequestId::from_uuid(self.id),
            device: DeviceId::from_bytes(sized(&self.device_id, TABLE, "device_id")?),
            key,
            ask: Ask {
                role: parsed(&self.role, TABLE, "role")?,
                scopes: parsed(&self.scopes, TABLE, "scopes")?,
                name: DeviceName::new(&self.name).map_err(|_| corrupt("name"))?,
                metadata: Metadata::new(metadata).map_err(|_| corrupt("metadata"))?,
            },
            user_code: UserCode::parse(&self.user_code).ok_or_else(|| corrupt("user_code"))?,
            address: self.address,
            state,
            created_at: timestamp(self.created_at),
            expires_at: timestamp(self.expires_at),
            previously_revoked: self.previously_revoked,
        })
    }
}
