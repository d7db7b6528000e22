//! Compact JWS (RFC 7515) of the one kind that proofs of possession use: an
//! Ed25519 signature (RFC 8037) that fits the key its header carries or names.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::keys::PublicKey;

/// The longest JWS that is read, in bytes.
const MAX_LENGTH: usize = 4 * 1024;

/// Why a JWS is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// It is not three parts of unpadded base64url around JSON objects.
    #[error("it is not a compact JWS with a JSON payload")]
    Malformed,
    /// The header asks for something else than Ed25519.
    #[error("its `alg` is not EdDSA or Ed25519, or it has `crit` members")]
    Algorithm,
    /// The header's `jwk` is not a public Ed25519 key.
    #[error("its `jwk` is not a public OKP/Ed25519 key")]
    Key,
    /// The signature does not fit.
    #[error("its signature does not fit its key")]
    Signature,
}

/// The JOSE header, as far as it is used.
#[derive(Debug, Deserialize)]
pub struct Header {
    alg: String,
    /// The media type that keeps one kind of JWT from being taken for another.
    pub typ: Option<String>,
    jwk: Option<Jwk>,
    crit: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    d: Option<String>,
}

/// A JWS whose signature is not checked yet.
#[derive(Debug)]
pub struct Jws<'a> {
    /// Its header.
    pub header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: [u8; 64],
}

impl<'a> Jws<'a> {
    /// Splits and decodes a JWS.
    pub fn parse(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > MAX_LENGTH {
            return Err(JwsError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        let header: Header = json(header)?;
        if !matches!(header.alg.as_str(), "EdDSA" | "Ed25519") || header.crit.is_some() {
            return Err(JwsError::Algorithm);
        }
        let signature = decode(signature)?.try_into();
        Ok(Self {
            header,
            signed,
            payload,
            signature: signature.map_err(|_| JwsError::Signature)?,
        })
    }

    /// The key in the header (`jwk`).
    pub fn own_key(&self) -> Result<PublicKey, JwsError> {
        let jwk = self.header.jwk.as_ref().ok_or(JwsError::Key)?;
        if jwk.kty != "OKP" || jwk.crv != "Ed25519" || jwk.d.is_some() {
            return Err(JwsError::Key);
        }
        let bytes = decode(&jwk.x).map_err(|_| JwsError::Key)?;
        let bytes = bytes.try_into().map_err(|_| JwsError::Key)?;
        PublicKey::from_bytes(&bytes).map_err(|_| JwsError::Key)
    }

    /// Checks the signature and reads the payload.
    pub fn verify<T: DeserializeOwned>(&self, key: &VerifyingKey) -> Result<T, JwsError> {
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(self.signed.as_bytes(), &signature)
            .map_err(|_| JwsError::Signature)?;
        json(self.payload)
    }

    /// The payload before its signature is checked, to find the key it names.
    pub fn unverified<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        json(self.payload)
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Result<T, JwsError> {
    serde_json::from_slice(&decode(part)?).map_err(|_| JwsError::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwsError::Malformed)
}
