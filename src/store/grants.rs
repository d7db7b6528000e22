//! Grants' rows and their lineage.

use hardtack_token::{AuthorityId, DeviceId, GrantId, Role, ScopeSet, Timestamp};
use uuid::Uuid;

use crate::domain::grant::{GrantRecord, GrantStatus, Holder};
use crate::store::row::{Page, count, parsed, seconds, sized, timestamp};
use crate::store::{StoreError, Tx, on};

/// A grant and its open chain, encrypted.
#[derive(Clone, Debug)]
pub struct LiveGrant {
    /// The row.
    pub record: GrantRecord,
    /// The chain under the data key.
    pub chain: Vec<u8>,
}

/// What an approval writes.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// The grant's id.
    pub id: GrantId,
    /// The authority block it starts from.
    pub authority: AuthorityId,
    /// The grants above it, outermost first; the last one is its parent.
    pub ancestors: Vec<GrantId>,
    /// Who it is for.
    pub holder: Holder,
    /// Its label.
    pub role: Role,
    /// Its scopes by name.
    pub scopes: ScopeSet,
    /// What people call the device.
    pub name: String,
    /// Whether it is the local device's.
    pub local: bool,
    /// The chain under the data key.
    pub chain: Vec<u8>,
    /// When it was given.
    pub created_at: Timestamp,
    /// The earliest end in its chain.
    pub expires_at: Option<Timestamp>,
}

/// Which devices' grants to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrantFilter {
    /// Only those of this device.
    pub device: Option<DeviceId>,
    /// Only those that stand so.
    pub status: Option<GrantStatus>,
}

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    id: Uuid,
    authority_id: Uuid,
    parent_id: Option<Uuid>,
    parent_device: Option<Vec<u8>>,
    device_id: Option<Vec<u8>>,
    service: Option<String>,
    role: String,
    scopes: String,
    name: String,
    status: String,
    local: bool,
    depth: i64,
    chain: Vec<u8>,
    created_at: i64,
    expires_at: Option<i64>,
    last_used_at: Option<i64>,
    descendants: i64,
}

// Whether a grant is dead is asked of its ancestors here and nowhere else.
macro_rules! effective_status {
    () => {
        "CASE WHEN EXISTS (SELECT 1 FROM lineage l JOIN grant_ a ON a.id = l.ancestor_id \
         WHERE l.grant_id = g.id AND a.status = 'revoked') THEN 'revoked' ELSE g.status END"
    };
}

pub(super) use effective_status;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT g.id, g.authority_id, g.parent_id, (SELECT p.device_id FROM grant_ p WHERE p.id = g.parent_id) AS parent_device, g.device_id, g.service, g.role, g.scopes, g.name, ",
            effective_status!(),
            " AS status, g.local, g.depth, g.chain, g.created_at, g.expires_at, g.last_used_at, ",
            "(SELECT COUNT(*) FROM lineage l JOIN grant_ d ON d.id = l.grant_id ",
            "WHERE l.ancestor_id = g.id AND d.status = 'active' AND NOT EXISTS (SELECT 1 FROM lineage e ",
            "JOIN grant_ a ON a.id = e.ancestor_id WHERE e.grant_id = d.id AND a.status = 'revoked')) ",
            "AS descendants FROM grant_ g ",
            $rest
        )
    };
}

pub(super) use select;

const BY_ID: &str = select!("WHERE g.id = $1");
// The live grant of a device and role stands for it, else the newest one. Ids
// sort by the millisecond only, so that a retired grant may have the higher one.
macro_rules! current_first {
    () => {
        "ORDER BY CASE WHEN g.status = 'active' THEN 0 ELSE 1 END, g.created_at DESC, g.id DESC LIMIT 1"
    };
}

const OF_DEVICE: &str = concat!(
    select!("WHERE g.device_id = $1 AND g.role = $2 "),
    current_first!()
);
const LOCAL: &str = concat!(select!("WHERE g.local = TRUE "), current_first!());
const LIST: &str = concat!(
    "SELECT * FROM (",
    select!(
        "WHERE g.device_id IS NOT NULL AND g.id > $1 AND ($2 IS NULL OR g.device_id = $2) \
         AND (g.status = 'active' OR NOT EXISTS (SELECT 1 FROM grant_ n \
         WHERE n.device_id = g.device_id AND n.role = g.role AND n.id <> g.id AND (n.status = 'active' \
         OR n.created_at > g.created_at OR (n.created_at = g.created_at AND n.id > g.id))))"
    ),
    ") AS listed WHERE ($3 = '' OR status = $3) ORDER BY id LIMIT $4"
);
const INSERT: &str = "INSERT INTO grant_ (id, authority_id, parent_id, device_id, service, role, scopes, name, status, local, depth, chain, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'active', $9, $10, $11, $12, $13)";
const INSERT_LINEAGE: &str = "INSERT INTO lineage (grant_id, ancestor_id) VALUES ($1, $2)";
const RETIRE: &str = "UPDATE grant_ SET status = 'retired' WHERE device_id = $1 AND ($2 = '' OR role = $2) AND status = 'active' RETURNING id";
const RETIRE_IDLE: &str = "UPDATE grant_ SET status = 'retired' WHERE id IN (SELECT id FROM grant_ WHERE status = 'active' AND local = FALSE AND device_id IS NOT NULL AND COALESCE(last_used_at, created_at) < $1 LIMIT $2) RETURNING id";
const REVOKE: &str = "UPDATE grant_ SET status = 'revoked' WHERE device_id = $1 AND ($2 = '' OR role = $2) AND status <> 'revoked' RETURNING id";
const REVOKE_ONE: &str = "UPDATE grant_ SET status = 'revoked' WHERE id = $1";
const REVOKE_ALL: &str = "UPDATE grant_ SET status = 'revoked' WHERE parent_id IS NULL AND status <> 'revoked' RETURNING id";
const EVER_REVOKED: &str = concat!(
    "SELECT COUNT(*) FROM (SELECT ",
    effective_status!(),
    " AS status FROM grant_ g WHERE g.device_id = $1) AS own WHERE status = 'revoked'"
);
const RENAME: &str = "UPDATE grant_ SET name = $1 WHERE device_id = $2";
const COUNT_LIVE: &str = concat!(
    "SELECT COUNT(DISTINCT device_id) FROM (SELECT g.device_id, ",
    effective_status!(),
    " AS status FROM grant_ g) AS counted WHERE status = 'active'"
);
const USED: &str =
    "UPDATE grant_ SET last_used_at = $1 WHERE id = $2 AND COALESCE(last_used_at, 0) < $3";
const IS_ABOVE: &str = "SELECT COUNT(*) FROM lineage WHERE ancestor_id = $1 AND grant_id IN (SELECT id FROM grant_ WHERE device_id = $2)";
const NOT_BELOW: &str = "SELECT COUNT(*) FROM grant_ g WHERE g.device_id = $2 AND g.status <> 'revoked' AND NOT EXISTS (SELECT 1 FROM lineage l WHERE l.grant_id = g.id AND l.ancestor_id = $1)";
// Live grants of the device, and live grants below any grant it ever had.
const DEVICES_BELOW: &str = concat!(
    "SELECT DISTINCT device_id FROM (SELECT g.device_id, ",
    effective_status!(),
    " AS status FROM grant_ g WHERE g.device_id IS NOT NULL AND (g.device_id = $1 OR g.id IN ",
    "(SELECT l.grant_id FROM lineage l JOIN grant_ a ON a.id = l.ancestor_id WHERE a.device_id = $1))) AS below ",
    "WHERE status = 'active' ORDER BY device_id"
);

impl Tx {
    /// A grant by its id, with its chain.
    pub async fn grant(&mut self, id: GrantId) -> Result<Option<LiveGrant>, StoreError> {
        let row: Option<Row> =
            on!(self, c => sqlx::query_as(BY_ID).bind(id.uuid()).fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The newest grant of a device in a role.
    pub async fn grant_of(
        &mut self,
        device: DeviceId,
        role: &Role,
    ) -> Result<Option<LiveGrant>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(OF_DEVICE)
            .bind(device.as_bytes().as_slice())
            .bind(role.as_str())
            .fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The newest grant of the local device.
    pub async fn local_grant(&mut self) -> Result<Option<LiveGrant>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(LOCAL).fetch_optional(c).await)?;
        row.map(Row::read).transpose()
    }

    /// The grant that stands for each device and role, in the order of their making.
    pub async fn grants(
        &mut self,
        filter: GrantFilter,
        page: Page<GrantId>,
    ) -> Result<Vec<GrantRecord>, StoreError> {
        let device = filter.device.map(|d| d.as_bytes().to_vec());
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(LIST)
            .bind(page.after.map_or(Uuid::nil(), GrantId::uuid))
            .bind(device.as_deref())
            .bind(filter.status.map_or("", GrantStatus::as_str))
            .bind(i64::from(page.limit))
            .fetch_all(c).await)?;
        let read = |row: Row| row.read().map(|grant| grant.record);
        rows.into_iter().map(read).collect()
    }

    /// Writes a new grant and its lineage.
    pub async fn insert_grant(&mut self, new: &NewGrant) -> Result<(), StoreError> {
        let (device, service) = match &new.holder {
            Holder::Device(id) => (Some(id.as_bytes().to_vec()), None),
            Holder::Service(name) => (None, Some(name.as_str().to_owned())),
        };
        let depth = i64::try_from(new.ancestors.len() + 1).unwrap_or(i64::MAX);
        on!(self, c => sqlx::query(INSERT)
            .bind(new.id.uuid())
            .bind(new.authority.uuid())
            .bind(new.ancestors.last().map(|id| id.uuid()))
            .bind(device.as_deref())
            .bind(service.as_deref())
            .bind(new.role.as_str())
            .bind(new.scopes.to_string())
            .bind(&new.name)
            .bind(new.local)
            .bind(depth)
            .bind(&new.chain)
            .bind(seconds(new.created_at))
            .bind(new.expires_at.map(seconds))
            .execute(c).await.map(drop))?;
        for ancestor in &new.ancestors {
            on!(self, c => sqlx::query(INSERT_LINEAGE)
                .bind(new.id.uuid())
                .bind(ancestor.uuid())
                .execute(c).await.map(drop))?;
        }
        Ok(())
    }

    /// Retires the live grants of a device, in one role or in all.
    pub async fn retire_grants(
        &mut self,
        device: DeviceId,
        role: Option<&Role>,
    ) -> Result<Vec<GrantId>, StoreError> {
        let ids: Vec<Uuid> = on!(self, c => sqlx::query_scalar(RETIRE)
            .bind(device.as_bytes().as_slice())
            .bind(role.map_or("", Role::as_str))
            .fetch_all(c).await)?;
        Ok(ids.into_iter().map(GrantId::from_uuid).collect())
    }

    /// Retires up to `limit` grants that nobody used since `before`; not the local device's.
    pub async fn retire_idle_grants(
        &mut self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<GrantId>, StoreError> {
        let ids: Vec<Uuid> = on!(self, c => sqlx::query_scalar(RETIRE_IDLE)
            .bind(seconds(before))
            .bind(i64::from(limit))
            .fetch_all(c).await)?;
        Ok(ids.into_iter().map(GrantId::from_uuid).collect())
    }

    /// Revokes every grant that a device ever had, retired ones included, in one
    /// role or in all.
    pub async fn revoke_grants(
        &mut self,
        device: DeviceId,
        role: Option<&Role>,
    ) -> Result<Vec<GrantId>, StoreError> {
        let ids: Vec<Uuid> = on!(self, c => sqlx::query_scalar(REVOKE)
            .bind(device.as_bytes().as_slice())
            .bind(role.map_or("", Role::as_str))
            .fetch_all(c).await)?;
        Ok(ids.into_iter().map(GrantId::from_uuid).collect())
    }

    /// Calls a device otherwise, in all its roles; false if there is none.
    pub async fn rename_grants(
        &mut self,
        device: DeviceId,
        name: &str,
    ) -> Result<bool, StoreError> {
        let changed = on!(self, c => sqlx::query(RENAME)
            .bind(name)
            .bind(device.as_bytes().as_slice())
            .execute(c).await.map(|done| done.rows_affected()))?;
        Ok(changed > 0)
    }

    /// Revokes one grant.
    pub async fn revoke_grant(&mut self, id: GrantId) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(REVOKE_ONE).bind(id.uuid()).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Revokes the first grant of every chain, and so all.
    pub async fn revoke_all_grants(&mut self) -> Result<Vec<GrantId>, StoreError> {
        let ids: Vec<Uuid> = on!(self, c => sqlx::query_scalar(REVOKE_ALL).fetch_all(c).await)?;
        Ok(ids.into_iter().map(GrantId::from_uuid).collect())
    }

    /// The number of devices with a live grant.
    pub async fn count_live_devices(&mut self) -> Result<u64, StoreError> {
        let rows: i64 = on!(self, c => sqlx::query_scalar(COUNT_LIVE).fetch_one(c).await)?;
        Ok(count(rows))
    }

    /// Whether a grant of this device was ever revoked, by itself or with one above it.
    pub async fn ever_revoked(&mut self, device: DeviceId) -> Result<bool, StoreError> {
        let rows: i64 = on!(self, c => sqlx::query_scalar(EVER_REVOKED)
            .bind(device.as_bytes().as_slice())
            .fetch_one(c).await)?;
        Ok(rows > 0)
    }

    /// Notes that a grant was used, at most once a minute.
    pub async fn grant_used(&mut self, id: GrantId, now: Timestamp) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(USED)
            .bind(seconds(now))
            .bind(id.uuid())
            .bind(seconds(now.minus(60)))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Whether every grant of a device that revoking it would end lies below
    /// `above`, and at least one does.
    pub async fn is_below(&mut self, device: DeviceId, above: GrantId) -> Result<bool, StoreError> {
        let below: i64 = on!(self, c => sqlx::query_scalar(IS_ABOVE)
            .bind(above.uuid())
            .bind(device.as_bytes().as_slice())
            .fetch_one(c).await)?;
        let elsewhere: i64 = on!(self, c => sqlx::query_scalar(NOT_BELOW)
            .bind(above.uuid())
            .bind(device.as_bytes().as_slice())
            .fetch_one(c).await)?;
        Ok(below > 0 && elsewhere == 0)
    }

    /// The devices that would end if this one were revoked, itself included.
    pub async fn devices_below(&mut self, device: DeviceId) -> Result<Vec<DeviceId>, StoreError> {
        let rows: Vec<Vec<u8>> = on!(self, c => sqlx::query_scalar(DEVICES_BELOW)
            .bind(device.as_bytes().as_slice())
            .fetch_all(c).await)?;
        let read = |bytes: Vec<u8>| Ok(DeviceId::from_bytes(sized(&bytes, "grant_", "device_id")?));
        rows.into_iter().map(read).collect()
    }
}

impl Row {
    pub(super) fn read(self) -> Result<LiveGrant, StoreError> {
        const TABLE: &str = "grant_";
        let corrupt = |column| StoreError::Corrupt {
            table: TABLE,
            column,
        };
        let holder = match (self.device_id, self.service) {
            (Some(id), None) => {
                Holder::Device(DeviceId::from_bytes(sized(&id, TABLE, "device_id")?))
            }
            (None, Some(name)) => Holder::Service(parsed(&name, TABLE, "service")?),
            (Some(_), Some(_)) | (None, None) => return Err(corrupt("device_id")),
        };
        let parent_device = match &self.parent_device {
            Some(id) => Some(DeviceId::from_bytes(sized(id, TABLE, "device_id")?)),
            None => None,
        };
        Ok(LiveGrant {
            record: GrantRecord {
                id: GrantId::from_uuid(self.id),
                authority: AuthorityId::from_uuid(self.authority_id),
                parent: self.parent_id.map(GrantId::from_uuid),
                parent_device,
                holder,
                role: parsed(&self.role, TABLE, "role")?,
                scopes: parsed(&self.scopes, TABLE, "scopes")?,
                name: self.name,
                status: GrantStatus::parse(&self.status).ok_or_else(|| corrupt("status"))?,
                local: self.local,
                depth: u32::try_from(self.depth).map_err(|_| corrupt("depth"))?,
                created_at: timestamp(self.created_at),
                expires_at: self.expires_at.map(timestamp),
                last_used_at: self.last_used_at.map(timestamp),
                descendants: count(self.descendants),
            },
            chain: self.chain,
        })
    }
}
