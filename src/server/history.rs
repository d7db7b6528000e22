//! Whether the database is the one that this node knows, or an older one that
//! somebody put in its place: that one has forgotten what was revoked since.

use crate::data_dir::{DataDir, Seen};
use crate::server::ServeError;
use crate::store::{Store, StoreError, Tx};

/// Follows how far the audit log goes.
#[derive(Debug)]
pub(super) struct History {
    data_dir: DataDir,
    seen: Option<Seen>,
}

impl History {
    /// What this directory's servers have seen so far.
    pub(super) fn of(data_dir: &DataDir) -> Self {
        Self {
            data_dir: data_dir.clone(),
            seen: data_dir.seen(),
        }
    }

    /// Refuses a database that ends before what was seen, or in which something
    /// else stands there.
    pub(super) async fn check(&self, store: &Store) -> Result<(), ServeError> {
        let Some(seen) = &self.seen else {
            return Ok(());
        };
        let mut tx = store.read().await?;
        let Some(present) = newest(&mut tx).await? else {
            return Ok(());
        };
        let same_row = tx.audit_hash(seen.audit_seq).await?.map(hex::encode);
        if same_row.as_deref() == Some(&seen.audit_hash) || present.instance_id != seen.instance_id
        {
            return Ok(());
        }
        Err(ServeError::OlderDatabase {
            seen: seen.audit_seq,
            present: present.audit_seq,
        })
    }

    /// Notes the newest row, if it is another than at the last call.
    pub(super) async fn note(&mut self, store: &Store) -> Result<(), ServeError> {
        let mut tx = store.read().await?;
        let present = newest(&mut tx).await?;
        let Some(present) = present.filter(|present| self.seen.as_ref() != Some(present)) else {
            return Ok(());
        };
        // An older database under a running node: the note must outlive it.
        self.check(store).await?;
        self.data_dir.write_seen(&present)?;
        self.seen = Some(present);
        Ok(())
    }
}

async fn newest(tx: &mut Tx) -> Result<Option<Seen>, StoreError> {
    let Some(install) = tx.install().await? else {
        return Ok(None);
    };
    let (audit_seq, hash) = tx.audit_head().await?;
    Ok(Some(Seen {
        instance_id: install.instance_id.to_string(),
        audit_seq,
        audit_hash: hex::encode(hash),
    }))
}
