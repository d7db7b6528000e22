//! How a node learns of revocations, retirements and changed keys: it reads the
//! feed of the store, and denies when it could not for some seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hardtack_token::{Ended, Timestamp};

use crate::authority::keys::Keys;
use crate::authority::{Authority, Error};
use crate::store::{Install, Page, Tx};

/// How often a node reads the feed.
pub const POLL: std::time::Duration = std::time::Duration::from_millis(500);
/// How many entries are read at once.
const BATCH: u32 = 1000;

/// What a verifier elsewhere is told of what ended.
#[derive(Clone, Debug)]
pub struct Feed {
    /// When it was read: what ended before is among it or over.
    pub as_of: Timestamp,
    /// How often the keys changed.
    pub keys_version: i64,
    /// The position after these entries.
    pub position: i64,
    /// What ended, in order.
    pub ended: Vec<Ended>,
    /// Whether there is more after the position.
    pub more: bool,
}

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

    /// A part of the feed for verifiers elsewhere: what a live token may contain,
    /// after a position that an earlier part ended at.
    pub async fn feed(&self, page: Page<i64>) -> Result<Feed, Error> {
        let now = self.now();
        let mut tx = self.store.read().await?;
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let after = page.after.unwrap_or(0);
        if !(0..=install.feed_seq).contains(&after) {
            // An older copy of the database was put in place: what the reader
            // knows is not what came before.
            let why = "`after` is not a position of this feed: read it from its start";
            return Err(Error::InvalidRequest(why.to_owned()));
        }
        let entries = tx.feed_live_after(after, now, page.limit).await?;
        let last = entries.last().map(|entry| entry.seq);
        let more = entries.len() == page.limit as usize;
        Ok(Feed {
            as_of: now,
            keys_version: install.keys_version,
            position: last.filter(|_| more).unwrap_or(install.feed_seq),
            ended: entries.into_iter().map(|entry| entry.ended).collect(),
            more,
        })
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
