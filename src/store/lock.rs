//! One first boot at a time, however many processes start at once.

use std::fs::{File, OpenOptions};
use std::path::Path;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use crate::store::{Store, StoreError};

/// Held while the install is made or its root key replaced, and until the root
/// token is printed. It ends with the process that holds it.
#[derive(Debug)]
pub struct BootLock(#[expect(dead_code, reason = "held, not used")] Held);

#[derive(Debug)]
enum Held {
    File(#[expect(dead_code, reason = "held, not used")] File),
    Advisory(#[expect(dead_code, reason = "held, not used")] PoolConnection<Postgres>),
}

/// The number of the advisory lock: "hardtack" as eight bytes.
const ADVISORY: i64 = 0x6861_7264_7461_636b;

impl Store {
    /// Waits for the lock.
    pub async fn boot_lock(&self) -> Result<BootLock, StoreError> {
        match self {
            Self::Sqlite { path, .. } => Ok(BootLock(Held::File(lock_beside(path).await?))),
            Self::Postgres(pool) => {
                let mut connection = pool.acquire().await?;
                sqlx::query("SELECT pg_advisory_lock($1)")
                    .bind(ADVISORY)
                    .execute(&mut *connection)
                    .await?;
                // The lock belongs to the connection, which therefore must not
                // go back to the pool: it is closed when the lock is dropped.
                connection.close_on_drop();
                Ok(BootLock(Held::Advisory(connection)))
            }
        }
    }
}

/// Waits for the lock that lies beside a SQLite file.
pub(super) async fn lock_beside(database: &Path) -> Result<File, StoreError> {
    let path = database.with_extension("lock");
    let shown = path.display().to_string();
    let wait = move || -> std::io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        file.lock()?;
        Ok(file)
    };
    let file = tokio::task::spawn_blocking(wait).await;
    let file = file.map_err(std::io::Error::other).flatten();
    file.map_err(|error| StoreError::File { path: shown, error })
}
