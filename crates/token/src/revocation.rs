//! The ids that are revoked or retired, and how old that knowledge is.
//!
//! Readers take one atomic load. Writers publish a new snapshot: a small recent
//! part that is copied on each change, over a large settled part that is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::denial::Denial;
use crate::profile::ChainProfile;
use crate::time::Timestamp;

/// When the recent part is merged into the settled one.
const RECENT_LIMIT: usize = 1024;

/// What has become of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The id and all below it are dead.
    Revoked,
    /// A grant that can no longer be used itself; what it approved lives.
    Retired,
}

/// One entry of the revocation feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// The id of an authority block, a grant or a session.
    pub id: Uuid,
    /// What has become of it.
    pub end: End,
}

/// A set of ended ids that is shared by all decisions of a process.
#[derive(Debug)]
pub struct Revocations {
    current: ArcSwap<Snapshot>,
    /// Serialises writers. Readers never take it.
    writing: Mutex<()>,
    /// How often the entries changed.
    changes: AtomicU64,
    /// The age in seconds from which the set is too old to decide by.
    bound: u64,
}

#[derive(Clone, Debug, Default)]
struct Snapshot {
    settled: Arc<Settled>,
    recent: HashMap<Uuid, End>,
    as_of: Timestamp,
}

impl Revocations {
    /// An empty set that was never read: it denies until it is.
    #[must_use]
    pub fn new(bound: u64) -> Self {
        Self {
            current: ArcSwap::default(),
            writing: Mutex::new(()),
            changes: AtomicU64::new(0),
            bound,
        }
    }

    /// Adds entries. A revocation is never weakened to a retirement.
    pub fn add(&self, entries: &[Ended]) {
        self.publish(|snapshot| {
            for entry in entries {
                let end = snapshot.recent.entry(entry.id).or_insert(entry.end);
                if entry.end == End::Revoked {
                    *end = End::Revoked;
                }
            }
            if snapshot.recent.len() > RECENT_LIMIT {
                let recent = std::mem::take(&mut snapshot.recent);
                snapshot.settled = Arc::new(snapshot.settled.merge(recent));
            }
        });
        self.count_change();
    }

    /// Replaces the settled entries: what is not named is no longer needed by
    /// any token. What was added lately and is not named stays, since it may
    /// have been added after `entries` were read.
    pub fn replace(&self, entries: &[Ended]) {
        let entries = entries.iter().map(|e| (e.id, e.end));
        let settled = Arc::new(Settled::default().merge(entries));
        self.publish(|snapshot| {
            snapshot.settled = Arc::clone(&settled);
            snapshot.recent.retain(|id, end| {
                let known = settled.get(*id);
                known.is_none() || (known == Some(End::Retired) && *end == End::Revoked)
            });
        });
        self.count_change();
    }

    /// Notes that all entries up to `now` are known.
    pub fn confirm(&self, now: Timestamp) {
        self.publish(|snapshot| snapshot.as_of = now);
    }

    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        let snapshot = self.current.load();
        snapshot.settled.ids.len() + snapshot.recent.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The point up to which all entries are known.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        self.current.load().as_of
    }

    /// Whether the set was read too long ago to decide by.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.current.load().age(now) >= self.bound
    }

    /// How often entries were added or replaced. Who saw a number has seen, in
    /// every later decision, the entries that it stands for.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Refuses if any id of the lineage is revoked, if the leaf is retired, or
    /// if the set is too old to know.
    pub(crate) fn check(&self, chain: &ChainProfile, now: Timestamp) -> Result<(), Denial> {
        let snapshot = self.current.load();
        let age = snapshot.age(now);
        if age >= self.bound {
            return Err(Denial::RevocationsStale { age });
        }
        if snapshot.settled.ids.is_empty() && snapshot.recent.is_empty() {
            return Ok(());
        }
        let session = chain.session.as_deref().map(|s| s.id.uuid());
        let grants = chain.grants().map(|g| g.id.uuid());
        let mut lineage = std::iter::once(chain.authority.uuid())
            .chain(grants)
            .chain(session);
        if lineage.any(|id| snapshot.get(id) == Some(End::Revoked)) {
            return Err(Denial::Revoked);
        }
        match snapshot.get(chain.leaf().id.uuid()) {
            Some(End::Retired) => Err(Denial::Retired),
            Some(End::Revoked) => Err(Denial::Revoked),
            None => Ok(()),
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        // A writer that panicked left the published snapshot whole.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
    }

    /// INVARIANT: comes after the entries were published.
    fn count_change(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

impl Snapshot {
    /// Seconds since all entries were known. A clock that was set back must not
    /// make an old set look fresh.
    fn age(&self, now: Timestamp) -> u64 {
        now.since(self.as_of).max(self.as_of.since(now))
    }

    fn get(&self, id: Uuid) -> Option<End> {
        let settled = self.settled.get(id);
        match (self.recent.get(&id).copied(), settled) {
            (Some(End::Revoked), _) | (_, Some(End::Revoked)) => Some(End::Revoked),
            (recent, settled) => recent.or(settled),
        }
    }
}

/// A sorted table of ids with an index on their mixed high bits: 19 bytes an
/// entry and one short run to look at, however many there are.
#[derive(Debug, Default)]
struct Settled {
    ids: Vec<u128>,
    /// `true` where the id at the same place is only retired.
    retired: Vec<bool>,
    /// For each value of the high bits, where its run starts; one more at the end.
    starts: Vec<usize>,
    bits: u32,
}

impl Settled {
    fn get(&self, id: Uuid) -> Option<End> {
        let key = mix(id);
        let bucket = usize::try_from(high_bits(key, self.bits)).ok()?;
        let from = *self.starts.get(bucket)?;
        let to = *self.starts.get(bucket + 1)?;
        let at = from + self.ids.get(from..to)?.iter().position(|k| *k == key)?;
        Some(match self.retired.get(at) {
            Some(true) => End::Retired,
            Some(false) | None => End::Revoked,
        })
    }

    fn merge(&self, added: impl IntoIterator<Item = (Uuid, End)>) -> Self {
        let old = self.ids.iter().copied().zip(self.retired.iter().copied());
        let new = added
            .into_iter()
            .map(|(id, end)| (mix(id), end == End::Retired));
        let mut all: Vec<(u128, bool)> = old.chain(new).collect();
        // `false` sorts first, so that of two entries the revocation is kept.
        all.sort_unstable();
        all.dedup_by_key(|(key, _)| *key);
        // About four ids a bucket.
        let bits = (all.len() / 4).checked_ilog2().unwrap_or(0);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut at = 0;
        for bucket in 0..=(1_u128 << bits) {
            let before = |(key, _): &(u128, bool)| high_bits(*key, bits) < bucket;
            at += all.get(at..).map_or(0, |rest| rest.partition_point(before));
            starts.push(at);
        }
        let (ids, retired) = all.into_iter().unzip();
        Self {
            ids,
            retired,
            starts,
            bits,
        }
    }
}

/// Spreads an id over its high bits: `UUIDv7` keeps the time there.
fn mix(id: Uuid) -> u128 {
    // An odd factor makes this a bijection, so that keys stand for ids exactly.
    const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    id.as_u128().wrapping_mul(FACTOR)
}

const fn high_bits(key: u128, bits: u32) -> u128 {
    if bits == 0 { 0 } else { key >> (128 - bits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Uuid {
        Uuid::from_u64_pair(0x0198_c0de_0000_7000, n)
    }

    fn revoked(n: u64) -> Ended {
        Ended {
            id: id(n),
            end: End::Revoked,
        }
    }

    fn get(set: &Revocations, n: u64) -> Option<End> {
        set.current.load().get(id(n))
    }

    #[test]
    fn every_added_id_is_found_and_no_other() {
        let set = Revocations::new(5);
        for chunk in (0..5000).collect::<Vec<u64>>().chunks(100) {
            let entries: Vec<_> = chunk.iter().map(|n| revoked(n * 2)).collect();
            set.add(&entries);
        }
        for n in 0..5000 {
            assert_eq!(get(&set, n * 2), Some(End::Revoked));
            assert_eq!(get(&set, n * 2 + 1), None);
        }
        assert_eq!(set.len(), 5000);
    }

    #[test]
    fn a_revocation_is_never_weakened() {
        let retired = Ended {
            id: id(1),
            end: End::Retired,
        };
        let set = Revocations::new(5);
        set.replace(&[revoked(1)]);
        set.add(&[retired]);
        assert_eq!(get(&set, 1), Some(End::Revoked));
        set.replace(&[]);
        set.replace(&[retired]);
        set.add(&[revoked(1), retired]);
        assert_eq!(get(&set, 1), Some(End::Revoked));
    }

    #[test]
    fn replacing_forgets_what_no_token_can_contain() {
        let set = Revocations::new(5);
        set.add(&[revoked(1)]);
        set.replace(&[revoked(1), revoked(2)]);
        set.replace(&[revoked(2)]);
        assert_eq!(get(&set, 1), None);
        assert_eq!(get(&set, 2), Some(End::Revoked));
    }

    #[test]
    fn replacing_keeps_what_was_added_meanwhile() {
        let set = Revocations::new(5);
        set.add(&[revoked(1)]);
        set.replace(&[revoked(2)]);
        assert_eq!(get(&set, 1), Some(End::Revoked));
    }
}
