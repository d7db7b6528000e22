//! The audit log: one row for each change of authority, chained by hashes.

use hardtack_token::{DeviceId, GrantId, Timestamp};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever presented the root token.
    Root,
    /// A device, by its grant.
    Device(DeviceId, GrantId),
    /// A service, by its grant.
    Service(GrantId),
    /// A device that only proved its key.
    Key(DeviceId),
    /// The install itself, or a command on its machine.
    Host,
}

impl Actor {
    /// The actor as it stands in the log.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Root => json!({"kind": "root"}),
            Self::Device(device, grant) => {
                json!({"kind": "device", "device_id": device.to_string(), "grant_id": grant.to_string()})
            }
            Self::Service(grant) => json!({"kind": "service", "grant_id": grant.to_string()}),
            Self::Key(device) => json!({"kind": "key", "device_id": device.to_string()}),
            Self::Host => json!({"kind": "host"}),
        }
    }
}

/// What is to be logged.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who did it.
    pub actor: Actor,
    /// What was done, such as `pairing.approve`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub object: String,
    /// The address it came from; empty for the host.
    pub address: String,
    /// What else is worth knowing. Never a secret.
    pub detail: Map<String, Value>,
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, without gaps from 1.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who, as JSON.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// From where.
    pub address: String,
    /// What else, as JSON.
    pub detail: String,
    /// The hash of the row before; zeros for the first.
    pub prev_hash: [u8; 32],
    /// The hash of this row and the one before.
    pub hash: [u8; 32],
}

impl AuditRecord {
    /// The next row after one with `prev_hash`.
    #[must_use]
    pub fn next(seq: i64, at: Timestamp, prev_hash: [u8; 32], entry: &Entry) -> Self {
        let mut record = Self {
            seq,
            at,
            actor: entry.actor.to_json().to_string(),
            action: entry.action.to_owned(),
            object: entry.object.clone(),
            address: entry.address.clone(),
            detail: Value::Object(entry.detail.clone()).to_string(),
            prev_hash,
            hash: [0; 32],
        };
        record.hash = record.expected_hash();
        record
    }

    /// The hash that this row must have: SHA-256 over the previous hash and
    /// every member, each with its length before it.
    #[must_use]
    pub fn expected_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.prev_hash);
        hash.update(self.seq.to_be_bytes());
        hash.update(self.at.unix().to_be_bytes());
        for text in [
            &self.actor,
            &self.action,
            &self.object,
            &self.address,
            &self.detail,
        ] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }

    /// Whether it follows `previous` and was not changed.
    #[must_use]
    pub fn follows(&self, previous: Option<&Self>) -> bool {
        let (seq, hash) = previous.map_or((0, [0; 32]), |p| (p.seq, p.hash));
        self.seq == seq + 1 && self.prev_hash == hash && self.hash == self.expected_hash()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, address: &str) -> Entry {
        Entry {
            actor: Actor::Host,
            action: "test",
            object: object.to_owned(),
            address: address.to_owned(),
            detail: Map::new(),
        }
    }

    #[test]
    fn a_changed_or_missing_row_breaks_the_chain() {
        let at = Timestamp::from_unix(1);
        let first = AuditRecord::next(1, at, [0; 32], &entry("a", "b"));
        let second = AuditRecord::next(2, at, first.hash, &entry("c", "d"));
        assert!(first.follows(None) && second.follows(Some(&first)));
        assert!(!second.follows(None));
        let mut changed = second.clone();
        changed.object = "x".to_owned();
        assert!(!changed.follows(Some(&first)));
        // The border between two members counts.
        let moved = AuditRecord::next(1, at, [0; 32], &entry("ab", ""));
        assert_ne!(moved.hash, first.hash);
    }
}
