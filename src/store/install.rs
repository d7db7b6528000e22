//! The install's one row.

use hardtack_token::Timestamp;
use uuid::Uuid;

use crate::domain::ids::InstanceId;
use crate::store::row::seconds;
use crate::store::{StoreError, Tx, on};

/// The install's row.
#[derive(Clone, Debug)]
pub struct Install {
    /// Which install this is.
    pub instance_id: InstanceId,
    /// The value by which the right `secret.key` is known.
    pub key_check: Vec<u8>,
    /// Whether the root token was shown.
    pub announced: bool,
    /// Raised with each change of keys.
    pub keys_version: i64,
    /// The MAC over all rows of the key tables.
    pub keys_mac: Vec<u8>,
    /// The position of the revocation feed.
    pub feed_seq: i64,
    /// The number of the newest event.
    pub event_seq: i64,
    /// The catalog that was in force last, in words.
    pub catalog: String,
}

/// What a first boot writes.
#[derive(Clone, Debug)]
pub struct NewInstall {
    /// Which install this is.
    pub instance_id: InstanceId,
    /// The value by which the right `secret.key` is known.
    pub key_check: Vec<u8>,
    /// When.
    pub created_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct Row {
    instance_id: Uuid,
    key_check: Vec<u8>,
    announced: bool,
    keys_version: i64,
    keys_mac: Vec<u8>,
    feed_seq: i64,
    event_seq: i64,
    catalog: String,
}

const SELECT: &str = "SELECT instance_id, key_check, announced, keys_version, keys_mac, feed_seq, event_seq, catalog FROM install WHERE id = 1";
const INSERT: &str = "INSERT INTO install (id, instance_id, key_check, announced, keys_version, keys_mac, feed_seq, event_seq, audit_seq, audit_hash, catalog, created_at) VALUES (1, $1, $2, FALSE, 0, $3, 0, 0, 0, $3, '', $4)";
// Another value each time: SQLite does not write a page that stays as it is.
const LOOK: &str = "UPDATE install SET looks = looks + 1 WHERE id = 1";
const ANNOUNCED: &str = "UPDATE install SET announced = $1 WHERE id = 1";
const KEY_CHECK: &str = "UPDATE install SET key_check = $1 WHERE id = 1";
const CATALOG: &str = "UPDATE install SET catalog = $1 WHERE id = 1";
const KEYS_CHANGED: &str = "UPDATE install SET keys_version = $1, keys_mac = $2 WHERE id = 1";

impl Tx {
    /// The install; `None` before the first boot.
    pub async fn install(&mut self) -> Result<Option<Install>, StoreError> {
        let row: Option<Row> = on!(self, c => sqlx::query_as(SELECT).fetch_optional(c).await)?;
        Ok(row.map(|row| Install {
            instance_id: InstanceId::from_uuid(row.instance_id),
            key_check: row.key_check,
            announced: row.announced,
            keys_version: row.keys_version,
            keys_mac: row.keys_mac,
            feed_seq: row.feed_seq,
            event_seq: row.event_seq,
            catalog: row.catalog,
        }))
    }

    /// Writes the row of a first boot.
    pub async fn insert_install(&mut self, new: &NewInstall) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(INSERT)
            .bind(new.instance_id.uuid())
            .bind(&new.key_check)
            .bind([0_u8; 32].as_slice())
            .bind(seconds(new.created_at))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Notes whether the present root token was shown.
    pub async fn set_announced(&mut self, announced: bool) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(ANNOUNCED).bind(announced).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Changes a number that means nothing, to see that a change is possible.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(LOOK).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Notes the value by which the right `secret.key` is known.
    pub async fn set_key_check(&mut self, check: &[u8]) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(KEY_CHECK).bind(check).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Notes the catalog in force.
    pub async fn set_catalog(&mut self, catalog: &str) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(CATALOG).bind(catalog).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Tells all nodes to read the keys again, under a new version and its MAC.
    pub async fn keys_changed(&mut self, version: i64, mac: &[u8]) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(KEYS_CHANGED)
            .bind(version)
            .bind(mac)
            .execute(c).await.map(drop))?;
        Ok(())
    }
}
