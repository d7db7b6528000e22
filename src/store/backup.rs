//! A copy of the database as it is at one moment, and what a restored copy must
//! not forget.

use std::path::Path;

use hardtack_token::{End, Ended, GrantId, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use crate::store::row::seconds;
use crate::store::{Store, StoreError, Tx, on};

#[derive(sqlx::FromRow)]
struct EndedGrant {
    id: Uuid,
    status: String,
}

// A statement of SQLite's own: PostgreSQL has `pg_dump`.
const COPY: &str = "VACUUM INTO $1";
const CHECK: &str = "PRAGMA quick_check(1)";
const ENDED_GRANTS: &str = "SELECT id, status FROM grant_ WHERE status <> 'active'";
const REVOKED_SESSIONS: &str = "SELECT id FROM session WHERE revoked = TRUE AND expires_at > $1";
const END_GRANT: &str =
    "UPDATE grant_ SET status = $1 WHERE id = $2 AND status <> 'revoked' AND status <> $1";
const END_SESSION: &str = "UPDATE session SET revoked = TRUE WHERE id = $1 AND revoked = FALSE";

impl Store {
    /// Writes a copy to a new file. Others go on reading and writing meanwhile.
    pub async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { read, .. } => {
                let path = file.display().to_string();
                sqlx::query(COPY).bind(path).execute(read).await?;
                Ok(())
            }
            Self::Postgres(_) => Err(StoreError::NoCopy),
        }
    }
}

/// Reads a copy through, every page of it.
///
/// # Errors
///
/// [`StoreError::NotWhole`] if it is no database, or a part of one.
pub async fn check_copy(file: &Path) -> Result<(), StoreError> {
    let said = quick_check(file).await;
    let said = said.unwrap_or_else(|error| error.to_string());
    if said == "ok" {
        return Ok(());
    }
    Err(StoreError::NotWhole {
        path: file.display().to_string(),
        said,
    })
}

async fn quick_check(file: &Path) -> Result<String, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        // No log is looked for beside it, and none is made.
        .immutable(true);
    let mut connection: SqliteConnection = options.connect().await?;
    let said = sqlx::query_scalar(CHECK).fetch_one(&mut connection).await;
    connection.close().await?;
    said
}

impl Tx {
    /// The grants and sessions that were ended by themselves, not by one above.
    pub async fn all_ended(&mut self, now: Timestamp) -> Result<Vec<Ended>, StoreError> {
        let grants: Vec<EndedGrant> =
            on!(self, c => sqlx::query_as(ENDED_GRANTS).fetch_all(c).await)?;
        let sessions: Vec<Uuid> = on!(self, c => sqlx::query_scalar(REVOKED_SESSIONS)
            .bind(seconds(now))
            .fetch_all(c).await)?;
        let revoked = |id| Ended {
            id,
            end: End::Revoked,
        };
        let grant = |row: EndedGrant| match row.status.as_str() {
            "retired" => Ended {
                id: row.id,
                end: End::Retired,
            },
            _ => revoked(row.id),
        };
        let sessions = sessions.into_iter().map(revoked);
        Ok(grants.into_iter().map(grant).chain(sessions).collect())
    }

    /// Ends a grant or a session by its id; false if there is none, or if it had
    /// ended as much before.
    pub async fn end_again(&mut self, ended: Ended) -> Result<bool, StoreError> {
        let status = match ended.end {
            End::Revoked => "revoked",
            End::Retired => "retired",
        };
        let id = GrantId::from_uuid(ended.id);
        let grants = on!(self, c => sqlx::query(END_GRANT)
            .bind(status)
            .bind(id.uuid())
            .execute(c).await.map(|done| done.rows_affected()))?;
        let sessions = match ended.end {
            End::Retired => 0,
            End::Revoked => on!(self, c => sqlx::query(END_SESSION)
                .bind(ended.id)
                .execute(c).await.map(|done| done.rows_affected()))?,
        };
        Ok(grants + sessions > 0)
    }
}
