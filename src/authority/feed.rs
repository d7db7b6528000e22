//! How a node learns of revocations, retirements and changed keys: it reads the
//! feed of the store, and denies when it could not for some seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::authority::keys::Keys;
use crate::authority::{Authority, Error};
use crate::store::{Install, Tx};

/// How often a node reads the feed.
pub const POLL: std::time::Duration = std::time::Duration::from_millis(500);
/// How many entries are read at once.
const BATCH: u32 = 1000;

/// The position up to which this node has read the feed.
#[derive(Debug, Default)]
pub struct FeedPosition(AtomicI64);

impl Authority {
    /// Reads all entries that a live token may still contain, in place of what
    /// was known: at the start, and now and then to forget what is over.
    pub async fn reload_feed(&self, position: &FeedPosition) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.read().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let entries = tx.feed_current(now).await?;
        let ended: Vec<_> = entries.iter().map(|entry| entry.ended).collect();
        let revocations = self.verifier.revocations();
        revocations.replace(&ended);
        position.0.store(install.feed_seq, Ordering::Release);
        // The time before the read: what commits during it is read next time.
        revocations.confirm(now);
        Ok(())
    }

    /// Reads what came since, and other keys if there are any.
    pub async fn poll_feed(&self, position: &FeedPosition) -> Result<(), Error> {
        let now = self.now();
        let mut tx = self.store.read().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let mut at = position.0.load(Ordering::Acquire);
        while at < install.feed_seq {
            let entries = tx.feed_after(at, BATCH).await?;
            let Some(last) = entries.last() else { break };
            at = last.seq;
            let ended: Vec<_> = entries.iter().map(|entry| entry.ended).collect();
            self.verifier.revocations().add(&ended);
        }
        position.0.store(install.feed_seq, Ordering::Release);
        self.take_changes(&mut tx, &install).await?;
        self.verifier.revocations().confirm(now);
        // After the revocations: who ends by one is not told of it.
        self.events.seen(install.event_seq);
        Ok(())
    }

    /// Starts a transaction that writes, with the keys and the secret of this
    /// very moment: after `root reset` the new root token and the local device
    /// work at once, and after a rotation of the secret nothing is refused.
    pub(crate) async fn write(&self) -> Result<Tx, Error> {
        let mut tx = self.store.write().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        self.take_changes(&mut tx, &install).await?;
        Ok(tx)
    }

    /// Puts a rotated secret and changed keys in force here, if they are newer
    /// than at the last look: what another transaction has seen is not taken back.
    async fn take_changes(&self, tx: &mut Tx, install: &Install) -> Result<(), Error> {
        if install.keys_version <= self.keys().version {
            return Ok(());
        }
        if install.key_check != self.secrets().check() {
            let read = self.secret_source.read(&install.key_check);
            let secrets = read.map_err(|why| {
                tracing::error!(
                    why,
                    "the online secret was rotated and the new one is not here"
                );
                Error::WrongSecret
            })?;
            self.secrets.store(Arc::new(secrets));
        }
        let keys = Keys::load(tx, &self.secrets()).await?;
        self.verifier.set_keys(keys.ring());
        self.keys.store(keys);
        Ok(())
    }
}
