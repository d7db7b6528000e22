//! The keys in force, read from the store and kept in memory.

use std::sync::Arc;

use hardtack_token::{AttestationKey, KeyRing, KeyState};

use crate::authority::error::Error;
use crate::authority::secrets::Secrets;
use crate::store::{AttestationKeyRow, RootKeyRow, Tx};

/// What a node knows of the install's keys. Root private keys are not among it.
#[derive(Debug)]
pub struct Keys {
    /// The install's count of key changes when these were read.
    pub version: i64,
    /// The key that attests.
    pub attestation: AttestationKey,
    /// The public root keys, for verifiers and metadata.
    pub roots: Vec<RootKeyRow>,
    /// The public attestation keys.
    pub attestations: Vec<AttestationKeyRow>,
}

impl Keys {
    /// Reads the keys and unwraps the active attestation key.
    ///
    /// SECURITY: whoever can write to the database could add a key of their own
    /// and mint at will. The rows count only under the MAC of the online secret.
    pub async fn load(tx: &mut Tx, secrets: &Secrets) -> Result<Arc<Self>, Error> {
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let roots = tx.root_keys().await?;
        let attestations = tx.attestation_keys().await?;
        let parts = parts(install.keys_version, &roots, &attestations);
        secrets.check_keyset(&borrowed(&parts), &install.keys_mac)?;
        let active = attestations
            .iter()
            .rev()
            .find(|key| key.state == KeyState::Active)
            .ok_or(Error::NotInitialised)?;
        let secret = secrets.unwrap_attestation(&active.public_key, &active.wrapped)?;
        let secret = secret.as_slice().try_into();
        let secret = secret.map_err(|_| Error::WrongSecret)?;
        Ok(Arc::new(Self {
            version: install.keys_version,
            attestation: AttestationKey::from_secret(secret)?,
            roots,
            attestations,
        }))
    }

    /// Puts the rows of this transaction in force: a new version, and its MAC.
    pub async fn publish(tx: &mut Tx, secrets: &Secrets) -> Result<(), Error> {
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let version = install.keys_version.saturating_add(1);
        let roots = tx.root_keys().await?;
        let attestations = tx.attestation_keys().await?;
        let mac = secrets.keyset_mac(&borrowed(&parts(version, &roots, &attestations)))?;
        Ok(tx.keys_changed(version, &mac).await?)
    }

    /// What a verifier is given.
    #[must_use]
    pub fn ring(&self) -> KeyRing {
        let mut ring = KeyRing::new();
        for root in &self.roots {
            ring = ring.with_root(root.id, root.public_key, root.state);
        }
        for key in &self.attestations {
            ring = ring.with_attestation(key.public_key, key.state);
        }
        ring
    }
}

/// All that counts of the key tables, in order.
fn parts(version: i64, roots: &[RootKeyRow], attestations: &[AttestationKeyRow]) -> Vec<Vec<u8>> {
    let mut parts = vec![version.to_be_bytes().to_vec()];
    for key in roots {
        parts.push(b"root".to_vec());
        parts.push(key.id.get().to_be_bytes().to_vec());
        parts.push(key.public_key.as_bytes().to_vec());
        parts.push(key.state.as_str().into());
        parts.push(key.sealed.clone().unwrap_or_default());
    }
    for key in attestations {
        parts.push(b"attestation".to_vec());
        parts.push(key.id.to_be_bytes().to_vec());
        parts.push(key.public_key.as_bytes().to_vec());
        parts.push(key.state.as_str().into());
        parts.push(key.wrapped.clone());
    }
    parts
}

fn borrowed(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}
