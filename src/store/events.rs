//! What happened, in the order of commits, for those who follow it.

use uuid::Uuid;

use crate::domain::event::EventKind;
use crate::store::row::parsed;
use crate::store::{StoreError, Tx, on};

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number. Later ones are higher.
    pub seq: i64,
    /// What happened.
    pub kind: EventKind,
    /// To which request or grant.
    pub id: Uuid,
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    kind: String,
    id: Uuid,
}

// Like the revocation feed's position: raised in a row that every writer locks,
// so that nobody reads a higher number first and misses a lower one.
const NEXT: &str = "UPDATE install SET event_seq = event_seq + 1 WHERE id = 1 RETURNING event_seq";
const INSERT: &str = "INSERT INTO event (seq, kind, id) VALUES ($1, $2, $3)";
const AFTER: &str = "SELECT seq, kind, id FROM event WHERE seq > $1 ORDER BY seq LIMIT $2";
const OLDEST: &str = "SELECT MIN(seq) FROM event";
const PURGE: &str =
    "DELETE FROM event WHERE seq <= (SELECT event_seq FROM install WHERE id = 1) - $1";

impl Tx {
    /// Notes what this transaction does.
    ///
    /// INVARIANT: called by the statements that change the row, so that no use
    /// case can forget it.
    pub(super) async fn event(&mut self, kind: EventKind, id: Uuid) -> Result<(), StoreError> {
        let seq: i64 = on!(self, c => sqlx::query_scalar(NEXT).fetch_one(c).await)?;
        on!(self, c => sqlx::query(INSERT)
            .bind(seq)
            .bind(kind.as_str())
            .bind(id)
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// The events after a number, in order, at most `limit`.
    pub async fn events_after(
        &mut self,
        seq: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(AFTER)
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(c).await)?;
        let read = |row: Row| {
            Ok(EventRow {
                seq: row.seq,
                kind: parsed(&row.kind, "event", "kind")?,
                id: row.id,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// The number of the oldest event that is kept.
    pub async fn oldest_event(&mut self) -> Result<Option<i64>, StoreError> {
        Ok(on!(self, c => sqlx::query_scalar(OLDEST).fetch_one(c).await)?)
    }

    /// Forgets all but so many of the newest.
    pub async fn purge_events(&mut self, kept: u32) -> Result<u64, StoreError> {
        let deleted = on!(self, c => sqlx::query(PURGE)
            .bind(i64::from(kept))
            .execute(c).await.map(|done| done.rows_affected()))?;
        Ok(deleted)
    }
}
