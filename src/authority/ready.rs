//! Whether this node can decide, and write.

use std::time::Duration;

use hardtack_token::Timestamp;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::authority::{Authority, Error, FEED_BOUND};
use crate::store::StoreError;

/// How long the database may take to show that it can write.
const PATIENCE: Duration = Duration::from_secs(3);
const NO_ANSWER: &str = "the database does not answer";

/// What was found, in words that anybody may read.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// What is wrong with the database.
    pub store: Option<String>,
    /// What is wrong with the revocations that are known here.
    pub revocations: Option<String>,
}

/// The last look at the database. Everybody may ask and a look costs a write to
/// the disk: there is one a second, and who comes meanwhile gets the same answer.
#[derive(Debug, Default)]
pub struct LastLook(Mutex<Option<(Timestamp, Option<String>)>>);

impl Readiness {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.store.is_none() && self.revocations.is_none()
    }
}

impl Authority {
    /// Looks whether the database can be written and the revocations are fresh.
    pub async fn readiness(&self) -> Readiness {
        let age = self.now().since(self.verifier.revocations().as_of());
        Readiness {
            store: self.look_at_store().await,
            revocations: (age >= FEED_BOUND).then(|| format!("last read {age} s ago")),
        }
    }

    async fn look_at_store(&self) -> Option<String> {
        let mut last = self.last_look.0.lock().await;
        let now = self.now();
        if let Some((at, found)) = &*last
            && *at == now
        {
            return found.clone();
        }
        let found = match timeout(PATIENCE, self.try_to_write()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready");
                Some(in_short(&error))
            }
            Err(_) => Some(NO_ANSWER.to_owned()),
        };
        *last = Some((now, found.clone()));
        found
    }

    async fn try_to_write(&self) -> Result<(), Error> {
        let mut tx = self.store.write().await?;
        tx.look().await?;
        Ok(tx.commit().await?)
    }
}

/// The error without addresses and paths.
fn in_short(error: &Error) -> String {
    match error {
        Error::Store(StoreError::ReadOnly(why)) => format!("the database cannot be written: {why}"),
        Error::Store(StoreError::Unavailable(_)) => NO_ANSWER.to_owned(),
        _ => "the database failed; the log of this node says how".to_owned(),
    }
}
