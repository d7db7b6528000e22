//! The audit log's rows.

use hardtack_token::Timestamp;

use crate::domain::audit::{AuditRecord, Entry};
use crate::store::row::{Page, seconds, sized, timestamp};
use crate::store::{StoreError, Tx, on};

#[derive(sqlx::FromRow)]
struct Head {
    audit_seq: i64,
    audit_hash: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    at: i64,
    actor: String,
    action: String,
    object: String,
    address: String,
    detail: String,
    prev_hash: Vec<u8>,
    hash: Vec<u8>,
}

const HEAD: &str = "SELECT audit_seq, audit_hash FROM install WHERE id = 1";
// The head is kept apart from the rows, so that cutting off the newest is seen.
const SET_HEAD: &str = "UPDATE install SET audit_seq = $1, audit_hash = $2 WHERE id = 1";
const INSERT: &str = "INSERT INTO audit (seq, at, actor, action, object, address, detail, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const HASH_OF: &str = "SELECT hash FROM audit WHERE seq = $1";
const LIST: &str = "SELECT seq, at, actor, action, object, address, detail, prev_hash, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";

impl Tx {
    /// Appends to the log. Writers come one after the other, so the chain has no forks.
    pub async fn audit(&mut self, entry: &Entry, at: Timestamp) -> Result<(), StoreError> {
        let (seq, hash) = self.audit_head().await?;
        let record = AuditRecord::next(seq + 1, at, hash, entry);
        on!(self, c => sqlx::query(INSERT)
            .bind(record.seq)
            .bind(seconds(record.at))
            .bind(&record.actor)
            .bind(&record.action)
            .bind(&record.object)
            .bind(&record.address)
            .bind(&record.detail)
            .bind(record.prev_hash.as_slice())
            .bind(record.hash.as_slice())
            .execute(c).await.map(drop))?;
        on!(self, c => sqlx::query(SET_HEAD)
            .bind(record.seq)
            .bind(record.hash.as_slice())
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// The number and hash of the newest row.
    pub async fn audit_head(&mut self) -> Result<(i64, [u8; 32]), StoreError> {
        let head: Head = on!(self, c => sqlx::query_as(HEAD).fetch_one(c).await)?;
        let hash = sized(&head.audit_hash, "install", "audit_hash")?;
        Ok((head.audit_seq, hash))
    }

    /// The hash of one row, to see whether a history is the same.
    pub async fn audit_hash(&mut self, seq: i64) -> Result<Option<[u8; 32]>, StoreError> {
        let hash: Option<Vec<u8>> = on!(self, c => sqlx::query_scalar(HASH_OF)
            .bind(seq)
            .fetch_optional(c).await)?;
        hash.map(|hash| sized(&hash, "audit", "hash")).transpose()
    }

    /// Rows in order.
    pub async fn audit_log(&mut self, page: Page<i64>) -> Result<Vec<AuditRecord>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(LIST)
            .bind(page.after.unwrap_or(0))
            .bind(i64::from(page.limit))
            .fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }
}

impl Row {
    fn read(self) -> Result<AuditRecord, StoreError> {
        Ok(AuditRecord {
            seq: self.seq,
            at: timestamp(self.at),
            actor: self.actor,
            action: self.action,
            object: self.object,
            address: self.address,
            detail: self.detail,
            prev_hash: sized(&self.prev_hash, "audit", "prev_hash")?,
            hash: sized(&self.hash, "audit", "hash")?,
        })
    }
}
