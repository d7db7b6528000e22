//! The public keys a verifier knows, and the authority's attestation key.

use std::fmt;
use std::str::FromStr;

use biscuit_auth::builder::Algorithm;
use ed25519_dalek::VerifyingKey;
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::id::{InvalidId, RootKeyId};

/// Where a key stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Signs new blocks.
    Active,
    /// Signs nothing new; what it signed still verifies.
    Retiring,
    /// Nothing it signed verifies any more.
    Retired,
}

impl KeyState {
    /// The word used in APIs and in storage.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
        }
    }

    /// Whether signatures of the key are accepted.
    #[must_use]
    pub const fn verifies(self) -> bool {
        match self {
            Self::Active | Self::Retiring => true,
            Self::Retired => false,
        }
    }
}

impl FromStr for KeyState {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "active" => Ok(Self::Active),
            "retiring" => Ok(Self::Retiring),
            "retired" => Ok(Self::Retired),
            _ => Err(InvalidId {
                what: "key state",
                why: "active, retiring or retired is needed",
            }),
        }
    }
}

/// An Ed25519 public key in Biscuit's text form, `ed25519/<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a raw 32-byte key. A key of low order is refused: everybody could
    /// sign for it.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, InvalidId> {
        let invalid = |why| InvalidId {
            what: "public key",
            why,
        };
        let key =
            VerifyingKey::from_bytes(bytes).map_err(|_| invalid("not a point of the curve"))?;
        if key.is_weak() {
            return Err(invalid("a key of low order proves nothing"));
        }
        Ok(Self(key))
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key, ready to verify with.
    #[must_use]
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        text.strip_prefix("ed25519/")
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .ok_or(InvalidId {
                what: "public key",
                why: "`ed25519/` and 64 hex digits are needed",
            })?;
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519/{}", hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All that a verifier trusts: root keys by id, and attestation keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    roots: Vec<(RootKeyId, PublicKey)>,
    attestation: Vec<PublicKey>,
}

impl KeyRing {
    /// An empty ring, under which every token is refused.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            roots: Vec::new(),
            attestation: Vec::new(),
        }
    }

    /// Adds a root key. A retired key is left out: what it signed is refused.
    #[must_use]
    pub fn with_root(mut self, id: RootKeyId, key: PublicKey, state: KeyState) -> Self {
        if state.verifies() {
            self.roots.push((id, key));
        }
        self
    }

    /// Adds an attestation key. A retired key is left out.
    #[must_use]
    pub fn with_attestation(mut self, key: PublicKey, state: KeyState) -> Self {
        if state.verifies() {
            self.attestation.push(key);
        }
        self
    }

    pub(crate) fn root(&self, id: RootKeyId) -> Option<&VerifyingKey> {
        let found = self.roots.iter().find(|(known, _)| *known == id);
        found.map(|(_, key)| key.verifying_key())
    }

    pub(crate) fn attestation(&self, bytes: &[u8; 32]) -> Option<&VerifyingKey> {
        let found = self.attestation.iter().find(|key| key.as_bytes() == bytes);
        found.map(PublicKey::verifying_key)
    }
}

/// The authority's online key. It attests grants and sessions and can neither
/// mint nor widen.
pub struct AttestationKey(biscuit_auth::KeyPair);

impl AttestationKey {
    /// Makes a new key.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        Self(biscuit_auth::KeyPair::new_with_rng(Algorithm::Ed25519, rng))
    }

    /// Restores a key from its 32 secret bytes.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, InvalidId> {
        key_pair(secret).map(Self)
    }

    /// The 32 secret bytes, to be stored under encryption.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<Vec<u8>> {
        self.0.private().to_bytes()
    }

    /// The public key.
    pub fn public(&self) -> Result<PublicKey, InvalidId> {
        public_key(&self.0)
    }

    pub(crate) const fn pair(&self) -> &biscuit_auth::KeyPair {
        &self.0
    }
}

impl fmt::Debug for AttestationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttestationKey({})", self.0.public())
    }
}

pub(crate) fn key_pair(secret: &[u8; 32]) -> Result<biscuit_auth::KeyPair, InvalidId> {
    let private = biscuit_auth::PrivateKey::from_bytes(secret, Algorithm::Ed25519);
    private
        .map(|key| biscuit_auth::KeyPair::from(&key))
        .map_err(|_| InvalidId {
            what: "private key",
            why: "32 bytes are needed",
        })
}

pub(crate) fn public_key(pair: &biscuit_auth::KeyPair) -> Result<PublicKey, InvalidId> {
    let bytes = <[u8; 32]>::try_from(pair.public().to_bytes()).map_err(|_| InvalidId {
        what: "public key",
        why: "32 bytes are needed",
    })?;
    PublicKey::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_of_low_order_is_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(PublicKey::from_bytes(&identity).is_err());
    }

    #[test]
    fn a_retired_key_is_not_in_the_ring() {
        let key = AttestationKey::from_secret(&[7; 32])
            .unwrap()
            .public()
            .unwrap();
        let ring = KeyRing::new()
            .with_attestation(key, KeyState::Retired)
            .with_root(RootKeyId::new(1), key, KeyState::Retired);
        assert!(ring.attestation(key.as_bytes()).is_none());
        assert!(ring.root(RootKeyId::new(1)).is_none());
    }

    #[test]
    fn a_public_key_prints_and_reads() {
        let key = AttestationKey::from_secret(&[9; 32])
            .unwrap()
            .public()
            .unwrap();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        assert!("secp256r1/00".parse::<PublicKey>().is_err());
    }
}
