//! Between columns and types.

use hardtack_token::{PublicKey, Timestamp};

use crate::store::StoreError;

/// A part of a list: at most `limit` rows after the one with the id `after`.
#[derive(Clone, Copy, Debug)]
pub struct Page<T> {
    /// The last row that was seen.
    pub after: Option<T>,
    /// The most rows to give.
    pub limit: u32,
}

/// Seconds as they are stored.
pub(super) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.unix()).unwrap_or(i64::MAX)
}

/// Seconds as they were stored.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_unix(u64::try_from(seconds).unwrap_or(0))
}

/// Reads a text column as its type.
pub(super) fn parsed<T: std::str::FromStr>(
    text: &str,
    table: &'static str,
    column: &'static str,
) -> Result<T, StoreError> {
    text.parse()
        .map_err(|_| StoreError::Corrupt { table, column })
}

/// Reads a bytes column of a fixed length.
pub(super) fn sized<const N: usize>(
    bytes: &[u8],
    table: &'static str,
    column: &'static str,
) -> Result<[u8; N], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt { table, column })
}

/// Reads a column `public_key`.
pub(super) fn public_key(bytes: &[u8], table: &'static str) -> Result<PublicKey, StoreError> {
    let corrupt = StoreError::Corrupt {
        table,
        column: "public_key",
    };
    let bytes = sized(bytes, table, "public_key")?;
    PublicKey::from_bytes(&bytes).map_err(|_| corrupt)
}

/// The number of rows that a statement gave back as a `BIGINT`.
pub(super) fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or(0)
}
