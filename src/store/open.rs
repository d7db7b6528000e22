//! Opening a database and bringing it to this version.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::store::lock::lock_beside;
use crate::store::{Store, StoreError};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a connection is waited for.
const ACQUIRE: Duration = Duration::from_secs(10);
/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL may hold a password.
    Postgres(String),
}

impl DatabaseUrl {
    /// The default: a file in the data directory.
    #[must_use]
    pub fn in_data_dir(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join("hardtack.db"))
    }
}

impl FromStr for DatabaseUrl {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                Ok(Self::Sqlite(path.into()))
            }
            None => Err(StoreError::Url(
                "postgres://… or sqlite:PATH is needed".to_owned(),
            )),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres://…"),
        }
    }
}

impl Store {
    /// Opens the database, makes it if it is not there, and migrates it.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        match url {
            DatabaseUrl::Sqlite(path) => Self::open_sqlite(path).await,
            DatabaseUrl::Postgres(url) => Self::open_postgres(url).await,
        }
    }

    async fn open_sqlite(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            // A revocation that was acknowledged must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            // What is replaced, an old root key's seal for one, is overwritten.
            .pragma("secure_delete", "ON")
            .optimize_on_close(true, None);
        // SQLite has no lock that would keep two processes from migrating at once.
        let migrating = lock_beside(path).await?;
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            // SQLite ends a transaction by itself when the disk is full. The
            // library counts it as open for ever: such a connection is closed.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone().create_if_missing(true))
            .await?;
        SQLITE.run(&write).await?;
        drop(migrating);
        // Such a connection may not optimize: its close would fail, nobody would
        // wait for it, and were it the last to go, the log would stay.
        let reading = options.read_only(true).optimize_on_close(false, None);
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(ACQUIRE)
            .connect_with(reading)
            .await?;
        Ok(Self::Sqlite {
            write,
            read,
            path: path.to_owned(),
        })
    }

    async fn open_postgres(url: &str) -> Result<Self, StoreError> {
        // SECURITY: the library's message may quote the URL and its password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url("it is not a postgres:// URL".to_owned()))?;
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(ACQUIRE)
            .connect_with(options.application_name("hardtack"))
            .await?;
        POSTGRES.run(&pool).await?;
        Ok(Self::Postgres(pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever copies or renames the file after a close takes all of it.
    #[tokio::test]
    async fn a_closed_database_is_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let url = DatabaseUrl::in_data_dir(dir.path());
        let DatabaseUrl::Sqlite(file) = &url else {
            panic!("not SQLite");
        };
        for _ in 0..40 {
            let store = Store::open(&url).await.unwrap();
            // Two readers at once are two connections.
            let readers = (store.read().await.unwrap(), store.read().await.unwrap());
            drop(readers);
            store.write().await.unwrap().skip_feed(1).await.unwrap();
            store.close().await;
            assert!(!file.with_extension("db-wal").exists());
        }
    }
}
