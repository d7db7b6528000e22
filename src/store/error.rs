//! What can go wrong with the database.

/// A failure of the database. It denies whatever was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or did not answer.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// The database does not answer, or somebody holds it for too long. Asking
    /// again may help.
    #[error("the database cannot be reached: {0}")]
    Unavailable(sqlx::Error),
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
    /// A copy is damaged, or a part is missing.
    #[error("{path} is not a whole copy of a database: {said}")]
    NotWhole {
        /// The copy.
        path: String,
        /// What the database found.
        said: String,
    },
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
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
                other => Self::Database(other),
            };
        };
        if database.is_unique_violation() {
            return Self::Conflict;
        }
        match Class::of(&database.code().unwrap_or_default()) {
            Class::ReadOnly => Self::ReadOnly(database.message().to_owned()),
            Class::Unavailable => Self::Unavailable(error),
            Class::Other => Self::Database(error),
        }
    }
}

/// What a database's own error code comes down to.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    ReadOnly,
    Unavailable,
    Other,
}

impl Class {
    /// SQLite gives its result code as a number, PostgreSQL five characters.
    fn of(code: &str) -> Self {
        if code.len() == 5 {
            return match (code.get(..2), code) {
                // Read only, or out of disk or memory.
                (_, "25006" | "53100" | "53200") => Self::ReadOnly,
                // The connection, too many of them, a shutdown, a lock in the way.
                (Some("08" | "53" | "55" | "57"), _) | (_, "40001" | "40P01") => Self::Unavailable,
                _ => Self::Other,
            };
        }
        match code.parse::<u32>().map(|code| code & 0xff) {
            // BUSY, LOCKED.
            Ok(5 | 6) => Self::Unavailable,
            // READONLY, IOERR, FULL, CANTOPEN.
            Ok(8 | 10 | 13 | 14) => Self::ReadOnly,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for (code, class) in [
            ("8", Class::ReadOnly),
            ("778", Class::ReadOnly),
            ("13", Class::ReadOnly),
            ("53100", Class::ReadOnly),
            ("25006", Class::ReadOnly),
            ("5", Class::Unavailable),
            ("261", Class::Unavailable),
            ("53300", Class::Unavailable),
            ("57P01", Class::Unavailable),
            ("40P01", Class::Unavailable),
            ("1", Class::Other),
            ("23505", Class::Other),
            ("", Class::Other),
        ] {
            assert_eq!(Class::of(code), class, "{code}");
        }
    }
}
