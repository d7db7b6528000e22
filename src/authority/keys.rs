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
    pub async fn load(tx: &mut Tx, secrets: &Secrets) -> Result<Arc<Self>, Error> {
        let install = tx.install().await?.ok_or(Error::NotInitialised)?;
        let attestations = tx.attestation_keys().await?;
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
            roots: tx.root_keys().await?,
            attestations,
        }))
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
