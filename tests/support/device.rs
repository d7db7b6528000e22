//! A device as the tests play it: a key, and the proofs it signs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::dpop::token_hash;
use hardtack_token::{DeviceId, Timestamp};
use serde_json::{Value, json};

/// A device with a key that is the same for the same number.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) key: SigningKey,
    counter: std::cell::Cell<u64>,
}

/// What a proof is made for. Tests change one member to make a bad one.
#[derive(Clone)]
pub(crate) struct Claims {
    pub(crate) htm: String,
    pub(crate) htu: String,
    pub(crate) iat: u64,
    pub(crate) jti: String,
    pub(crate) ath: Option<String>,
    pub(crate) nonce: Option<String>,
}

impl Device {
    pub(crate) fn new(number: u64) -> Self {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        seed[31] = 1;
        Self::of(SigningKey::from_bytes(&seed))
    }

    pub(crate) fn of(key: SigningKey) -> Self {
        Self {
            key,
            counter: std::cell::Cell::new(0),
        }
    }

    pub(crate) fn id(&self) -> DeviceId {
        DeviceId::of(&self.key.verifying_key())
    }

    /// A text that this device never used before.
    pub(crate) fn unique(&self) -> String {
        let count = self.counter.get();
        self.counter.set(count + 1);
        format!("{}-{count}-{}", self.id(), rand::random::<u64>())
    }

    pub(crate) fn claims(&self, method: &str, url: &str, now: Timestamp) -> Claims {
        Claims {
            htm: method.to_owned(),
            htu: url.to_owned(),
            iat: now.unix(),
            jti: self.unique(),
            ath: None,
            nonce: None,
        }
    }

    /// A DPoP proof for one request.
    pub(crate) fn proof(
        &self,
        method: &str,
        url: &str,
        now: Timestamp,
        token: Option<&str>,
    ) -> String {
        let mut claims = self.claims(method, url, now);
        claims.ath = token.map(token_hash);
        self.dpop(&claims)
    }

    pub(crate) fn dpop(&self, claims: &Claims) -> String {
        let mut body = json!({
            "htm": claims.htm, "htu": claims.htu, "iat": claims.iat, "jti": claims.jti,
        });
        if let Some(ath) = &claims.ath {
            body["ath"] = json!(ath);
        }
        if let Some(nonce) = &claims.nonce {
            body["nonce"] = json!(nonce);
        }
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk()});
        self.sign(&header, &body)
    }

    /// A client assertion for the token endpoint.
    pub(crate) fn assertion(&self, audience: &str, now: Timestamp) -> String {
        let id = self.id().to_string();
        let body = json!({
            "iss": id, "sub": id, "aud": audience,
            "iat": now.unix(), "exp": now.unix() + 60, "jti": self.unique(),
        });
        self.sign(&json!({"typ": "JWT", "alg": "EdDSA"}), &body)
    }

    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x})
    }

    pub(crate) fn sign(&self, header: &Value, body: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(body));
        let signature = self.key.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
