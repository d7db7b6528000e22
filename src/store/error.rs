//! What can go wrong with the database.

/// A failure of the database. It denies whatever was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or did not answer.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// Somebody else was faster with something that there can be only one of.
    #[error("this exists already")]
    Conflict,
    /// The database is full or cannot be written.
    #[error("the database cannot be written: {0}")]
    ReadOnly(String),
    /// A stored value does not read.
    #[error("a stored value does not read: table {table}, column {column}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The database is backed up by its own means.
    #[error("this install keeps its data in PostgreSQL, which has its own backups")]
    NoCopy,
    /// The database was used by a newer version of this program.
    #[error(
        "the database has migration {0}, which this version ({this}) does not know: run the newer version again, or restore a backup made by this one",
        this = env!("CARGO_PKG_VERSION")
    )]
    Newer(i64),
    /// The migrations cannot be applied.
    #[error("the database cannot be brought to this version: {0}")]
    Migrate(sqlx::migrate::MigrateError),
    /// The address of the database is not one.
    #[error("the database URL does not read: {0}")]
    Url(String),
    /// The data directory cannot be used.
    #[error("{path}: {error}")]
    File {
        /// The file or directory.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(version) => Self::Newer(version),
            other => Self::Migrate(other),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(database) = error.as_database_error() else {
            return Self::Database(error);
        };
        if database.is_unique_violation() {
            return Self::Conflict;
        }
        // SQLite's primary codes 8 (READONLY), 10 (IOERR), 13 (FULL), 14 (CANTOPEN) and
        // PostgreSQL's class 53 (insufficient resources) and 25006 (read only).
        let code = database.code().unwrap_or_default();
        let primary = code.parse::<u32>().map(|c| c & 0xff);
        let sqlite = matches!(primary, Ok(8 | 10 | 13 | 14)) && code.len() <= 4;
        if sqlite || code == "25006" || (code.len() == 5 && code.starts_with("53")) {
            return Self::ReadOnly(database.message().to_owned());
        }
        Self::Database(error)
    }
}
