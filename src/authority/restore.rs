//! Putting a backup in force without forgetting what ended since it was made.

use std::collections::HashSet;

use hardtack_token::{End, Ended, GrantId, Timestamp};
use serde_json::json;

use crate::authority::FEED_KEPT;
use crate::authority::bootstrap::Bootstrap;
use crate::authority::error::Error;
use crate::authority::keys::Keys;
use crate::domain::grant::GrantStatus;
use crate::domain::ids::InstanceId;
use crate::store::{AttestationKeyRow, FeedEntry, NewEnd, RootKeyRow, Tx};

/// The positions of the feed that are left out: more than can have been given
/// since the copy was made.
const SKIPPED: i64 = 1 << 32;

/// What a restored database was told.
#[derive(Clone, Copy, Debug)]
pub struct Restored {
    /// The newest row of the backup's audit log.
    pub audit_seq: i64,
    /// The grants and sessions that live in the backup and end here.
    pub ended: u64,
    /// Whether the local device is left without a live grant.
    pub local_device_ended: bool,
}

/// What the replaced database knew.
#[derive(Debug)]
pub struct Replaced {
    /// Which install it was of.
    pub instance_id: InstanceId,
    /// The newest row of its audit log.
    pub audit_seq: i64,
    ended: Vec<Ended>,
    feed: Vec<FeedEntry>,
    services: Vec<(GrantId, Timestamp)>,
    roots: Vec<RootKeyRow>,
    attestations: Vec<AttestationKeyRow>,
}

impl Bootstrap<'_> {
    /// What this database knows that a backup of it may not know.
    pub async fn replaced(&self) -> Result<Replaced, Error> {
        let now = self.clock.now();
        let mut tx = self.store.read().await?;
        let install = self.install(&mut tx).await?;
        let keys = Keys::load(&mut tx, self.secrets).await?;
        Ok(Replaced {
            instance_id: install.instance_id,
            audit_seq: tx.audit_head().await?.0,
            ended: tx.all_ended(now).await?,
            feed: tx.feed_current(now).await?,
            services: tx.all_services(now).await?,
            roots: keys.roots.clone(),
            attestations: keys.attestations.clone(),
        })
    }

    /// Prepares this database, which is a backup, to take another's place.
    ///
    /// SECURITY: what had ended there ends here: grants and sessions by their
    /// rows, tokens of grants that the backup never knew by the feed, and a root
    /// key that `root reset` replaced by the key tables.
    pub async fn restored(&self, replaced: Option<&Replaced>) -> Result<Restored, Error> {
        let mut tx = self.store.write().await?;
        let install = self.install(&mut tx).await?;
        let (audit_seq, _) = tx.audit_head().await?;
        // SECURITY: readers of the feed know positions that came after this
        // copy. An entry that was given one of them again would never be read.
        tx.skip_feed(SKIPPED).await?;
        let mut ended = 0;
        if let Some(replaced) = replaced {
            if replaced.instance_id != install.instance_id {
                return Err(Error::OtherInstall);
            }
            ended = self.carry_over(&mut tx, replaced).await?;
        }
        let detail = json!({
            "backup_seq": audit_seq,
            "replaced_seq": replaced.map(|r| r.audit_seq),
            "ended": ended,
        });
        let object = install.instance_id.to_string();
        self.audit(&mut tx, "backup.restore", object, &detail)
            .await?;
        let local = tx.local_grant().await?;
        let local_device_ended =
            local.is_none_or(|grant| grant.record.status != GrantStatus::Active);
        tx.commit().await?;
        Ok(Restored {
            audit_seq,
            ended,
            local_device_ended,
        })
    }

    /// SECURITY: a service token that the backup never knew could be neither
    /// listed nor revoked, and would be good for months.
    async fn end_unknown_services(&self, tx: &mut Tx, replaced: &Replaced) -> Result<u64, Error> {
        let now = self.clock.now();
        let mut count = 0;
        for (id, until) in &replaced.services {
            if tx.grant(*id).await?.is_none() {
                let ended = Ended {
                    id: id.uuid(),
                    end: End::Revoked,
                };
                let until = until.plus(FEED_KEPT);
                tx.end(&NewEnd { ended, until }, now).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    async fn carry_over(&self, tx: &mut Tx, replaced: &Replaced) -> Result<u64, Error> {
        let now = self.clock.now();
        for key in &replaced.roots {
            tx.put_root_key(key, now).await?;
        }
        for key in &replaced.attestations {
            tx.put_attestation_key(key, now).await?;
        }
        Keys::publish(tx, self.secrets).await?;

        let mut count = 0;
        for ended in &replaced.ended {
            count += u64::from(tx.end_again(*ended).await?);
        }
        let known = tx.feed_current(now).await?;
        let known: HashSet<_> = known.into_iter().map(|entry| entry.ended).collect();
        for entry in replaced.feed.iter().filter(|e| !known.contains(&e.ended)) {
            let new = NewEnd {
                ended: entry.ended,
                until: entry.until,
            };
            tx.end(&new, now).await?;
        }
        count += self.end_unknown_services(tx, replaced).await?;
        Ok(count)
    }
}
