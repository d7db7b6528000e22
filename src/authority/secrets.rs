//! The online secret, what is derived from it, and sealing.
//!
//! One 32-byte secret (`secret.key`) is shared by all nodes of an install. By
//! HKDF-SHA256 (RFC 5869) it gives the data key, the wrapping of the
//! attestation key, the local device's key, the nonce key and the value by
//! which the right secret is known. It can neither mint nor widen.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use hardtack_token::{PublicKey, RootKey, RootKeyId, RootToken};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use rand::RngCore;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A 32-byte symmetric key, wiped when dropped.
type Key = Zeroizing<[u8; 32]>;

/// Reads the online secret from where it came from: a file, a credential, a command.
pub struct SecretSource(Box<ReadSecret>);

/// Reads the secret of a check value; the text of an error says where and why.
type ReadSecret = dyn Fn(&[u8]) -> Result<Secrets, String> + Send + Sync;

impl SecretSource {
    /// Wraps what reads it. The text of an error says where and why, and no more.
    pub fn new(read: impl Fn(&[u8]) -> Result<Secrets, String> + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    /// Reads the secret with this check value.
    pub fn read(&self, check: &[u8]) -> Result<Secrets, String> {
        (self.0)(check)
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretSource")
    }
}

/// Why a secret cannot be used. Nothing here says anything about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is not 64 hex digits.
    #[error("the secret is not 64 hex digits")]
    Format,
    /// The key tables were changed by something that does not have the secret.
    #[error(
        "the keys in the database were changed by something that does not hold the online secret: restore the database, or find out who can write to it"
    )]
    Keyset,
    /// What was sealed does not open: another key, or changed bytes.
    #[error("a sealed value does not open under this key")]
    Seal,
}

/// The online secret and its derived keys.
pub struct Secrets {
    data: Key,
    wrap: Key,
    nonce: Key,
    device_code: Key,
    keyset: Key,
    local_device: SigningKey,
    check: [u8; 16],
}

impl Secrets {
    /// The text of a new secret, as it stands in `secret.key`.
    pub fn generate(rng: &mut dyn RngCore) -> Zeroizing<String> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(secret.as_mut());
        Zeroizing::new(hex::encode(secret.as_slice()))
    }

    /// Derives all keys from a secret's text.
    pub fn from_text(text: &str) -> Result<Self, SecretError> {
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), secret.as_mut()).map_err(|_| SecretError::Format)?;
        let hkdf = Hkdf::<Sha256>::new(Some(b"hardtack online secret v1"), secret.as_slice());
        let derive = |info: &str| -> Result<Key, SecretError> {
            let mut key = Zeroizing::new([0; 32]);
            hkdf.expand(info.as_bytes(), key.as_mut())
                .map_err(|_| SecretError::Format)?;
            Ok(key)
        };
        let mut check = [0; 16];
        hkdf.expand(b"key check", &mut check)
            .map_err(|_| SecretError::Format)?;
        Ok(Self {
            data: derive("data key")?,
            wrap: derive("attestation key wrapping")?,
            nonce: derive("nonce key")?,
            device_code: derive("device code authentication")?,
            keyset: derive("keyset authentication")?,
            local_device: SigningKey::from_bytes(&*derive("local device")?),
            check,
        })
    }

    /// The value by which the right secret is known.
    #[must_use]
    pub const fn check(&self) -> &[u8; 16] {
        &self.check
    }

    /// The key of the local device: the same on every node.
    #[must_use]
    pub const fn local_device(&self) -> &SigningKey {
        &self.local_device
    }

    /// Encrypts an open chain for the store, bound to the id of its grant or,
    /// for a bare authority block, of that block.
    pub fn seal_chain(
        &self,
        id: Uuid,
        chain: &[u8],
        rng: &mut dyn RngCore,
    ) -> Result<Vec<u8>, SecretError> {
        seal(&self.data, id.as_bytes(), chain, rng)
    }

    /// Decrypts an open chain from the store.
    pub fn open_chain(&self, id: Uuid, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        open(&self.data, id.as_bytes(), sealed)
    }

    /// Wraps an attestation key for the store, bound to its public key.
    pub fn wrap_attestation(
        &self,
        public: &PublicKey,
        secret: &[u8],
        rng: &mut dyn RngCore,
    ) -> Result<Vec<u8>, SecretError> {
        seal(&self.wrap, public.as_bytes(), secret, rng)
    }

    /// Unwraps an attestation key.
    pub fn unwrap_attestation(
        &self,
        public: &PublicKey,
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        open(&self.wrap, public.as_bytes(), wrapped)
    }

    /// A keyed hash that stands for a period of time (RFC 9449 section 8: a
    /// server's nonce). All nodes make the same.
    pub fn nonce(&self, period: u64) -> Result<[u8; 16], SecretError> {
        let full = mac(&self.nonce, &[&period.to_be_bytes()])?.finalize();
        let full: [u8; 32] = full.into_bytes().into();
        full.first_chunk::<16>().copied().ok_or(SecretError::Format)
    }

    /// The MAC that makes the id of a pairing request its device code.
    pub fn device_code_mac(&self, request: Uuid) -> Result<[u8; 16], SecretError> {
        let full = mac(&self.device_code, &[request.as_bytes()])?.finalize();
        let full: [u8; 32] = full.into_bytes().into();
        full.first_chunk::<16>().copied().ok_or(SecretError::Format)
    }

    /// Whether a presented MAC is the one of this request; in constant time.
    pub fn check_device_code(&self, request: Uuid, presented: &[u8]) -> Result<(), SecretError> {
        if presented.len() != 16 {
            return Err(SecretError::Seal);
        }
        let mac = mac(&self.device_code, &[request.as_bytes()])?;
        mac.verify_truncated_left(presented)
            .map_err(|_| SecretError::Seal)
    }

    /// The MAC over the rows of the key tables, part by part.
    pub fn keyset_mac(&self, parts: &[&[u8]]) -> Result<[u8; 32], SecretError> {
        Ok(mac(&self.keyset, parts)?.finalize().into_bytes().into())
    }

    /// Whether a stored MAC is the one over these parts; in constant time.
    pub fn check_keyset(&self, parts: &[&[u8]], stored: &[u8]) -> Result<(), SecretError> {
        let mac = mac(&self.keyset, parts)?;
        mac.verify_slice(stored).map_err(|_| SecretError::Keyset)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// Seals a root private key under its root token.
pub fn seal_root(
    root: &RootKey,
    token: &RootToken,
    public: &PublicKey,
    rng: &mut dyn RngCore,
) -> Result<Vec<u8>, SecretError> {
    let key = root_sealing_key(token)?;
    seal(&key, &root_context(root.id(), public), &root.secret(), rng)
}

/// Opens a root private key with the root token that was presented.
///
/// SECURITY: that the seal opens and that the public key fits is what
/// authenticates a root token. Its signature proves less: a root key signs any
/// number of them.
pub fn open_root(
    token: &RootToken,
    public: &PublicKey,
    sealed: &[u8],
) -> Result<RootKey, SecretError> {
    let key = root_sealing_key(token)?;
    let secret = open(&key, &root_context(token.id(), public), sealed)?;
    let secret = secret
        .as_slice()
        .try_into()
        .map_err(|_| SecretError::Seal)?;
    let root = RootKey::from_secret(token.id(), secret).map_err(|_| SecretError::Seal)?;
    match root.public() {
        Ok(derived) if derived == *public => Ok(root),
        Ok(_) | Err(_) => Err(SecretError::Seal),
    }
}

fn root_sealing_key(token: &RootToken) -> Result<Key, SecretError> {
    let secret = token.secret().map_err(|_| SecretError::Seal)?;
    let hkdf = Hkdf::<Sha256>::new(Some(b"hardtack root token v1"), &secret);
    let mut key = Zeroizing::new([0; 32]);
    hkdf.expand(b"root key sealing", key.as_mut())
        .map_err(|_| SecretError::Seal)?;
    Ok(key)
}

fn root_context(id: RootKeyId, public: &PublicKey) -> Vec<u8> {
    let mut context = id.get().to_be_bytes().to_vec();
    context.extend_from_slice(public.as_bytes());
    context
}

/// HMAC-SHA256 over parts, each with its length before it.
fn mac(key: &Key, parts: &[&[u8]]) -> Result<Hmac<Sha256>, SecretError> {
    let mac = Hmac::<Sha256>::new_from_slice(key.as_slice());
    let mut mac = mac.map_err(|_| SecretError::Format)?;
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Ok(mac)
}

const NONCE: usize = 24;

/// XChaCha20-Poly1305 with a random nonce in front.
fn seal(
    key: &Key,
    context: &[u8],
    plain: &[u8],
    rng: &mut dyn RngCore,
) -> Result<Vec<u8>, SecretError> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    let payload = Payload {
        msg: plain,
        aad: context,
    };
    let sealed = XChaCha20Poly1305::new(&(**key).into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| SecretError::Seal)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

fn open(key: &Key, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let (nonce, sealed) = sealed
        .split_first_chunk::<NONCE>()
        .ok_or(SecretError::Seal)?;
    let payload = Payload {
        msg: sealed,
        aad: context,
    };
    XChaCha20Poly1305::new(&(**key).into())
        .decrypt(&XNonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| SecretError::Seal)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(1)
    }

    fn secrets() -> Secrets {
        Secrets::from_text(&Secrets::generate(&mut rng())).unwrap()
    }

    fn grant(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    #[test]
    fn a_chain_opens_for_its_own_grant_and_secret_only() {
        let secrets = secrets();
        let sealed = secrets.seal_chain(grant(1), b"chain", &mut rng()).unwrap();
        assert_eq!(
            secrets.open_chain(grant(1), &sealed).unwrap().as_slice(),
            b"chain"
        );
        assert!(secrets.open_chain(grant(2), &sealed).is_err());
        let other = Secrets::from_text(&"ab".repeat(32)).unwrap();
        assert!(other.open_chain(grant(1), &sealed).is_err());
        let mut changed = sealed.clone();
        changed[30] ^= 1;
        assert!(secrets.open_chain(grant(1), &changed).is_err());
        assert!(secrets.open_chain(grant(1), &sealed[..10]).is_err());
    }

    #[test]
    fn a_root_key_opens_under_its_own_token_only() {
        let root = RootKey::generate(RootKeyId::new(1), &mut rng());
        let public = root.public().unwrap();
        let token = root.mint_root_token(&mut rng()).unwrap();
        let sealed = seal_root(&root, &token, &public, &mut rng()).unwrap();
        let opened = open_root(&token, &public, &sealed).unwrap();
        assert_eq!(opened.secret(), root.secret());
        // The same key signs any number of root tokens; one of them opens the seal.
        let mut later = StdRng::seed_from_u64(2);
        let second = root.mint_root_token(&mut later).unwrap();
        assert!(open_root(&second, &public, &sealed).is_err());
        let other = RootKey::generate(RootKeyId::new(1), &mut later);
        assert!(open_root(&token, &other.public().unwrap(), &sealed).is_err());
    }

    #[test]
    fn the_same_secret_makes_the_same_local_device() {
        let text = Secrets::generate(&mut rng());
        let one = Secrets::from_text(&text).unwrap();
        let two = Secrets::from_text(&format!("{}\n", *text)).unwrap();
        assert_eq!(one.local_device(), two.local_device());
        assert_eq!(one.check(), two.check());
        assert!(Secrets::from_text("short").is_err());
    }
}
