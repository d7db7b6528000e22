//! The revocation feed: what ended, in the order of commits.

use hardtack_token::{End, Ended, Timestamp};
use uuid::Uuid;

use crate::domain::event::EventKind;
use crate::store::row::{parsed, seconds, timestamp};
use crate::store::{StoreError, Tx, on};

/// An entry of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedEntry {
    /// Its position.
    pub seq: i64,
    /// What ended, and how.
    pub ended: Ended,
    /// When no token that contains the id can be live any more.
    pub until: Timestamp,
}

/// What an operation ends.
#[derive(Clone, Copy, Debug)]
pub struct NewEnd {
    /// What ended, and how.
    pub ended: Ended,
    /// When no session that contains the id can be live any more.
    pub until: Timestamp,
}

/// How far the clocks of nodes may differ, in seconds.
const CLOCKS: i64 = 120;

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    id: Uuid,
    kind: String,
    until: i64,
}

// Raised in the transaction that ends something, in a row that every writer
// locks: a sequence would be numbered before the commit, and a reader that saw
// a later number first would miss this entry for ever.
const NEXT: &str = "UPDATE install SET feed_seq = feed_seq + 1 WHERE id = 1 RETURNING feed_seq";
const SKIP: &str = "UPDATE install SET feed_seq = feed_seq + $1 WHERE id = 1";
const INSERT: &str = "INSERT INTO ended (seq, id, kind, at, until) VALUES ($1, $2, $3, $4, $5)";
const AFTER: &str = "SELECT seq, id, kind, until FROM ended WHERE seq > $1 ORDER BY seq LIMIT $2";
const LIVE_AFTER: &str =
    "SELECT seq, id, kind, until FROM ended WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3";
const CURRENT: &str = "SELECT seq, id, kind, until FROM ended WHERE until > $1 ORDER BY seq";

// From the service tokens, which are few, and not from what is below, which may
// be a million grants.
const LATEST_BELOW: &str = "SELECT MAX(latest) FROM (SELECT expires_at AS latest FROM session WHERE id = $1 UNION ALL SELECT g.expires_at AS latest FROM grant_ g WHERE g.service IS NOT NULL AND g.expires_at > $2 AND (g.id = $1 OR g.authority_id = $1 OR EXISTS (SELECT 1 FROM lineage l WHERE l.grant_id = g.id AND l.ancestor_id = $1))) AS tokens";

impl Tx {
    /// Appends to the feed. The entry is kept at least until the last service
    /// token below has ended: those live longer than any session.
    pub async fn end(&mut self, new: &NewEnd, at: Timestamp) -> Result<(), StoreError> {
        let latest: Option<i64> = on!(self, c => sqlx::query_scalar(LATEST_BELOW)
            .bind(new.ended.id)
            .bind(seconds(at))
            .fetch_one(c).await)?;
        let latest = latest.map_or(0, |end| end.saturating_add(CLOCKS));
        let seq: i64 = on!(self, c => sqlx::query_scalar(NEXT).fetch_one(c).await)?;
        on!(self, c => sqlx::query(INSERT)
            .bind(seq)
            .bind(new.ended.id)
            .bind(word(new.ended.end))
            .bind(seconds(at))
            .bind(seconds(new.until).max(latest))
            .execute(c).await.map(drop))?;
        let kind = match new.ended.end {
            End::Revoked => EventKind::GrantRevoked,
            End::Retired => EventKind::GrantRetired,
        };
        self.event(kind, new.ended.id).await
    }

    /// The entries after a position, in order, at most `limit`.
    pub async fn feed_after(&mut self, seq: i64, limit: u32) -> Result<Vec<FeedEntry>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(AFTER)
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Leaves positions out, so that none is given twice.
    pub async fn skip_feed(&mut self, positions: i64) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(SKIP).bind(positions).execute(c).await.map(drop))?;
        Ok(())
    }

    /// The entries after a position that a live token may still contain, in
    /// order, at most `limit`.
    pub async fn feed_live_after(
        &mut self,
        seq: i64,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(LIVE_AFTER)
            .bind(seq)
            .bind(seconds(now))
            .bind(i64::from(limit))
            .fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }

    /// All entries that a live token may still contain.
    pub async fn feed_current(&mut self, now: Timestamp) -> Result<Vec<FeedEntry>, StoreError> {
        let rows: Vec<Row> =
            on!(self, c => sqlx::query_as(CURRENT).bind(seconds(now)).fetch_all(c).await)?;
        rows.into_iter().map(Row::read).collect()
    }
}

impl Row {
    fn read(self) -> Result<FeedEntry, StoreError> {
        let end: Word = parsed(&self.kind, "ended", "kind")?;
        Ok(FeedEntry {
            seq: self.seq,
            ended: Ended {
                id: self.id,
                end: end.0,
            },
            until: timestamp(self.until),
        })
    }
}

const fn word(end: End) -> &'static str {
    match end {
        End::Revoked => "revoked",
        End::Retired => "retired",
    }
}

struct Word(End);

impl std::str::FromStr for Word {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "revoked" => Ok(Self(End::Revoked)),
            "retired" => Ok(Self(End::Retired)),
            _ => Err(()),
        }
    }
}
