//! Root keys and attestation keys.

use hardtack_token::{KeyState, PublicKey, RootKeyId, Timestamp};

use crate::store::row::{parsed, seconds, sized};
use crate::store::{StoreError, Tx, on};

/// A root key's row.
#[derive(Clone, Debug)]
pub struct RootKeyRow {
    /// Its id, which tokens name.
    pub id: RootKeyId,
    /// The public key.
    pub public_key: PublicKey,
    /// The private key under the root token; gone once the key is replaced.
    pub sealed: Option<Vec<u8>>,
    /// Where it stands.
    pub state: KeyState,
}

/// An attestation key's row.
#[derive(Clone, Debug)]
pub struct AttestationKeyRow {
    /// Its number.
    pub id: i64,
    /// The public key.
    pub public_key: PublicKey,
    /// The private key under a key derived from the online secret.
    pub wrapped: Vec<u8>,
    /// Where it stands.
    pub state: KeyState,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    public_key: Vec<u8>,
    secret: Option<Vec<u8>>,
    state: String,
}

const ROOT_KEYS: &str = "SELECT id, public_key, sealed AS secret, state FROM root_key ORDER BY id";
const PUT_ROOT: &str = "INSERT INTO root_key (id, public_key, sealed, state, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key, sealed = excluded.sealed, state = excluded.state";
// The seal goes with the state: an old root token must open nothing. On SQLite
// `secure_delete` overwrites the bytes that are freed.
const REPLACE_ROOT: &str =
    "UPDATE root_key SET state = 'retiring', sealed = NULL WHERE state = 'active'";
const ATTESTATION_KEYS: &str =
    "SELECT id, public_key, wrapped AS secret, state FROM attestation_key ORDER BY id";
const PUT_ATTESTATION: &str = "INSERT INTO attestation_key (id, public_key, wrapped, state, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO UPDATE SET public_key = excluded.public_key, wrapped = excluded.wrapped, state = excluded.state";

impl Tx {
    /// All root keys, oldest first.
    pub async fn root_keys(&mut self) -> Result<Vec<RootKeyRow>, StoreError> {
        const TABLE: &str = "root_key";
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(ROOT_KEYS).fetch_all(c).await)?;
        let read = |row: Row| {
            Ok(RootKeyRow {
                id: RootKeyId::new(u32::try_from(row.id).map_err(|_| corrupt(TABLE, "id"))?),
                public_key: public_key(&row.public_key, TABLE)?,
                sealed: row.secret,
                state: parsed(&row.state, TABLE, "state")?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Adds a root key, or replaces the one with its id.
    pub async fn put_root_key(
        &mut self,
        row: &RootKeyRow,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(PUT_ROOT)
            .bind(i64::from(row.id.get()))
            .bind(row.public_key.as_bytes().as_slice())
            .bind(row.sealed.as_deref())
            .bind(row.state.as_str())
            .bind(seconds(at))
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// Takes the active root key out of use and its seal away.
    pub async fn replace_root_key(&mut self) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(REPLACE_ROOT).execute(c).await.map(drop))?;
        Ok(())
    }

    /// All attestation keys, oldest first.
    pub async fn attestation_keys(&mut self) -> Result<Vec<AttestationKeyRow>, StoreError> {
        const TABLE: &str = "attestation_key";
        let rows: Vec<Row> = on!(self, c => sqlx::query_as(ATTESTATION_KEYS).fetch_all(c).await)?;
        let read = |row: Row| {
            Ok(AttestationKeyRow {
                id: row.id,
                public_key: public_key(&row.public_key, TABLE)?,
                wrapped: row.secret.ok_or_else(|| corrupt(TABLE, "wrapped"))?,
                state: parsed(&row.state, TABLE, "state")?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Adds an attestation key, or replaces the one with its id.
    pub async fn put_attestation_key(
        &mut self,
        row: &AttestationKeyRow,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(PUT_ATTESTATION)
            .bind(row.id)
            .bind(row.public_key.as_bytes().as_slice())
            .bind(&row.wrapped)
            .bind(row.state.as_str())
            .bind(seconds(at))
            .execute(c).await.map(drop))?;
        Ok(())
    }
}

fn public_key(bytes: &[u8], table: &'static str) -> Result<PublicKey, StoreError> {
    let bytes = sized(bytes, table, "public_key")?;
    PublicKey::from_bytes(&bytes).map_err(|_| corrupt(table, "public_key"))
}

const fn corrupt(table: &'static str, column: &'static str) -> StoreError {
    StoreError::Corrupt { table, column }
}
