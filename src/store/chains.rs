//! Open chains as they are stored: all of them, to be put under another key.

use hardtack_token::AuthorityId;
use uuid::Uuid;

use crate::store::{StoreError, Tx, on};

/// A stored chain and the id that its encryption is bound to.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StoredChain {
    /// The id of the grant or of the authority block.
    pub id: Uuid,
    /// The chain under the data key.
    pub chain: Vec<u8>,
}

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainsOf {
    /// Grants.
    Grants,
    /// Authority blocks.
    AuthorityBlocks,
}

const INSERT: &str = "INSERT INTO authority_block (id, chain) VALUES ($1, $2)";
const BY_ID: &str = "SELECT id, chain FROM authority_block WHERE id = $1";
const GRANTS: &str = "SELECT id, chain FROM grant_ WHERE id > $1 ORDER BY id LIMIT $2";
const BLOCKS: &str = "SELECT id, chain FROM authority_block WHERE id > $1 ORDER BY id LIMIT $2";
const SET_GRANT: &str = "UPDATE grant_ SET chain = $1 WHERE id = $2";
const SET_BLOCK: &str = "UPDATE authority_block SET chain = $1 WHERE id = $2";

impl Tx {
    /// Stores a fresh authority block.
    pub async fn insert_authority_block(
        &mut self,
        id: AuthorityId,
        chain: &[u8],
    ) -> Result<(), StoreError> {
        on!(self, c => sqlx::query(INSERT)
            .bind(id.uuid())
            .bind(chain)
            .execute(c).await.map(drop))?;
        Ok(())
    }

    /// An authority block, if it was kept.
    pub async fn authority_block(
        &mut self,
        id: AuthorityId,
    ) -> Result<Option<StoredChain>, StoreError> {
        let row = on!(self, c => sqlx::query_as(BY_ID).bind(id.uuid()).fetch_optional(c).await)?;
        Ok(row)
    }

    /// Up to `limit` chains after the one with the id `after`.
    pub async fn chains(
        &mut self,
        of: ChainsOf,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<StoredChain>, StoreError> {
        let sql = match of {
            ChainsOf::Grants => GRANTS,
            ChainsOf::AuthorityBlocks => BLOCKS,
        };
        let rows = on!(self, c => sqlx::query_as(sql)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(c).await)?;
        Ok(rows)
    }

    /// Replaces a stored chain.
    pub async fn set_chain(&mut self, of: ChainsOf, chain: &StoredChain) -> Result<(), StoreError> {
        let sql = match of {
            ChainsOf::Grants => SET_GRANT,
            ChainsOf::AuthorityBlocks => SET_BLOCK,
        };
        on!(self, c => sqlx::query(sql)
            .bind(&chain.chain)
            .bind(chain.id)
            .execute(c).await.map(drop))?;
        Ok(())
    }
}
