//! The only SQL. One text per statement serves SQLite and PostgreSQL.
//!
//! All access goes through a [`Tx`]: reads see one state, writes are one unit,
//! and writes on one database come one after the other. A transaction that is
//! dropped without [`Tx::commit`] changes nothing.

mod audit;
mod backup;
mod chains;
mod error;
mod events;
mod grants;
mod install;
mod invites;
mod keys;
mod lock;
mod open;
mod purge;
mod requests;
mod revocations;
mod row;
mod service_tokens;
mod sessions;

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

pub use backup::check_copy;
pub use chains::{ChainsOf, StoredChain};
pub use error::StoreError;
pub use events::EventRow;
pub use grants::{GrantFilter, LiveGrant, NewGrant};
pub use install::{Install, NewInstall};
pub use invites::NewInvite;
pub use keys::{AttestationKeyRow, RootKeyRow};
pub use lock::BootLock;
pub use open::DatabaseUrl;
pub use purge::Past;
pub use requests::RequestFilter;
pub use revocations::{FeedEntry, NewEnd};
pub use row::Page;
pub use service_tokens::ServiceFilter;
pub use sessions::SessionRecord;

/// A database of hardtack's, of one of the two kinds.
#[derive(Clone, Debug)]
pub enum Store {
    /// A file of this machine. Writers queue for one connection.
    Sqlite {
        /// The one connection that writes.
        write: SqlitePool,
        /// Connections that cannot write.
        read: SqlitePool,
        /// The database file, which the boot lock lies beside.
        path: std::path::PathBuf,
    },
    /// A server that several nodes share.
    Postgres(PgPool),
}

/// A transaction.
#[derive(Debug)]
pub struct Tx(Kind);

#[derive(Debug)]
enum Kind {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

/// Locks the row that every write changes or depends on. An empty table has
/// nothing to lock: first boots are kept apart by the boot lock. PostgreSQL
/// only: on SQLite the one writing connection is the lock.
const LOCK_INSTALL: &str = "SELECT id FROM install WHERE id = 1 FOR UPDATE";

/// Runs one body on the connection of a transaction, compiled for each database.
macro_rules! on {
    ($tx:expr, $connection:ident => $body:expr) => {
        match &mut $tx.0 {
            $crate::store::Kind::Sqlite(tx) => {
                let $connection = &mut **tx;
                $body
            }
            $crate::store::Kind::Postgres(tx) => {
                let $connection = &mut **tx;
                $body
            }
        }
    };
}
use on;

impl Store {
    /// Starts a transaction that reads.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        Ok(Tx(match self {
            Self::Sqlite { read, .. } => Kind::Sqlite(read.begin().await?),
            Self::Postgres(pool) => {
                // One snapshot for all statements, as SQLite gives.
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                Kind::Postgres(pool.begin_with(begin).await?)
            }
        }))
    }

    /// Starts a transaction that writes. Only one runs at a time: what it reads
    /// stays true until it commits.
    pub async fn write(&self) -> Result<Tx, StoreError> {
        match self {
            // Immediate, since a read lock that is raised later fails at once
            // when another writer was faster.
            Self::Sqlite { write, .. } => {
                let tx = write.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx(Kind::Sqlite(tx)))
            }
            Self::Postgres(pool) => {
                let mut tx = pool.begin().await?;
                sqlx::query(LOCK_INSTALL).execute(&mut *tx).await?;
                Ok(Tx(Kind::Postgres(tx)))
            }
        }
    }

    /// Closes all connections; SQLite's write-ahead log is folded in.
    pub async fn close(&self) {
        match self {
            Self::Sqlite { write, read, .. } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// Makes all changes lasting, or none.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Kind::Sqlite(tx) => tx.commit().await?,
            Kind::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
