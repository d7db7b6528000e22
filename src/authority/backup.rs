//! A copy of the database for safe keeping. It holds no online secret, without
//! which its chains do not open.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::authority::caller::Call;
use crate::authority::{Authority, Error};
use crate::domain::operation::Operation;
use crate::store::Store;

impl Authority {
    /// Writes a copy beside the database and gives its name. Whoever sends it on
    /// removes it.
    pub async fn backup(&self, call: &Call<'_>) -> Result<PathBuf, Error> {
        let (caller, mut tx) = self.enter(call, Operation::Backup).await?;
        let Store::Sqlite { path, .. } = &self.store else {
            return Err(crate::store::StoreError::NoCopy.into());
        };
        let id = self.request_id();
        let copy = path.with_file_name(format!("hardtack.backup.{id}"));
        let detail = json!({});
        self.audit_of(&mut tx, &caller, call, "backup.make", id, detail)
            .await?;
        tx.commit().await?;
        if let Err(error) = self.store.copy_to(&copy).await {
            remove(&copy);
            return Err(error.into());
        }
        Ok(copy)
    }
}

/// Removes a copy; one that stays costs room and nothing else.
pub fn remove(copy: &Path) {
    if let Err(error) = std::fs::remove_file(copy) {
        tracing::warn!(copy = %copy.display(), %error, "a backup's file could not be removed");
    }
}
