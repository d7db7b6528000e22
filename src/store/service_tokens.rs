//! What service tokens were made for. Their grants are with all others.

use hardtack_token::{DeviceId, GrantId, ServiceName, Timestamp};
use uuid::Uuid;

use crate::domain::service_token::{ServiceStatus, ServiceToken};
use crate::store::grants::{Row as GrantRow, effective_status, select};
use crate::store::row::{Page, seconds, timestamp};
use crate::store::{StoreError, Tx, on};

/// Which service tokens to list.
#[derive(Clone, Debug, Default)]
pub struct ServiceFilter {
    /// Only the one of this grant.
    pub grant: Option<GrantId>,
    /// Only those of this name.
    pub name: Option<ServiceName>,
    /// Only those that stand so.
    pub status: Option<ServiceStatus>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    grant: GrantRow,
    audience: String,
}

const INSERT: &str = "INSERT INTO service_token (grant_id, audience) VALUES ($1, $2)";
const LIST: &str = concat!(
    "SELECT listed.*, t.audience FROM (",
    select!(
        "WHERE g.service IS NOT NULL AND ($2 IS NULL OR g.id = $2) AND ($3 = '' OR g.service = $3)"
    ),
    ") AS listed JOIN service_token t ON t.grant_id = listed.id WHERE listed.id > $1 AND ($4 = '' OR ",
    "CASE WHEN listed.status <> 'active' THEN 'revoked' WHEN listed.expires_at <= $5 THEN 'expired' ELSE 'active' END = $4) ",
    "ORDER BY listed.id LIMIT $6"
);
const BELOW: &str = concat!(
    "SELECT service FROM (SELECT g.service, g.expires_at, ",
    effective_status!(),
    " AS status FROM grant_ g WHERE g.service IS NOT NULL AND g.parent_id IS NOT NULL AND EXISTS ",
    "(SELECT 1 FROM lineage l JOIN grant_ a ON a.id = l.ancestor_id WHERE l.grant_id = g.id AND a.device_id = $1)) ",
    "AS below WHERE status = 'active' AND expires_at > $2 ORDER BY service"
);
const LIVE: &str = "SELECT g.id, g.expires_at FROM grant_ g JOIN service_token t ON t.grant_id = g.id WHERE g.expires_at > $1";
const ISSUED_BY: &str = "SELECT COUNT(*) FROM lineage l JOIN grant_ a ON a.id = l.ancestor_id WHERE l.grant_id = $1 AND (a.id = $2 OR a.device_id = $3)";

impl Tx {
    /// Writes what a service token is for, beside its grant.
    pub async fn insert_service_token(
        &mut self,
        grant: GrantId,
        audience: &str,
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(INSERT)
            .bind(grant.uuid())
            .bind(audience)
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Service tokens in the order of their making.
    pub async fn service_tokens(
        &mut self,
        filter: &ServiceFilter,
        page: Page<GrantId>,
        now: Timestamp,
    ) -> Result<Vec<ServiceToken>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(LIST)
            .bind(page.after.map_or(Uuid::nil(), GrantId::uuid))
            .bind(filter.grant.map(GrantId::uuid))
            .bind(filter.name.as_ref().map_or("", ServiceName::as_str))
            .bind(filter.status.map_or("", ServiceStatus::as_str))
            .bind(seconds(now))
            .bind(i64::from(page.limit))
            .fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }

    /// The names of the live service tokens below any grant that a device ever had.
    pub async fn services_below(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let names = on!(self, c => sqlx::query_scalar(BELOW)
            .bind(device.as_bytes().as_slice())
            .bind(seconds(now))
            .fetch_all(c).await)?;
        Ok(names)
    }

    /// The grants of all service tokens that are not over, and their ends.
    pub async fn all_services(
        &mut self,
        now: Timestamp,
    ) -> Result<Vec<(GrantId, Timestamp)>, StoreError> {
        let rows: Vec<(Uuid, i64)> = on!(self, c => sqlx::query_as(LIVE)
            .bind(seconds(now))
            .fetch_all(c).await)?;
        let read = |(id, end)| (GrantId::from_uuid(id), timestamp(end));
        Ok(rows.into_iter().map(read).collect())
    }

    /// Whether a grant is below another one, or below any of a device's.
    pub async fn issued_by(
        &mut self,
        grant: GrantId,
        by: GrantId,
        device: Option<DeviceId>,
    ) -> Result<bool, StoreError> {
        let device = device.map(|id| id.as_bytes().to_vec());
        let rows: i64 = on!(self, c => sqlx::query_scalar(ISSUED_BY)
            .bind(grant.uuid())
            .bind(by.uuid())
            .bind(device.as_deref())
            .fetch_one(c).await)?;
        Ok(rows > 0)
    }
}

impl Row {
    fn read(self) -> Result<ServiceToken, StoreError> {
        Ok(ServiceToken {
            grant: self.grant.read()?.record,
            audience: self.audience,
        })
    }
}
