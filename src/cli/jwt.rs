//! The proofs that a device signs: DPoP (RFC 9449) and client assertions (RFC 7523).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::dpop::token_hash;
use hardtack_token::{Clock, DeviceId, Origin, SystemClock};
use rand::RngCore;
use serde_json::{Value, json};

use crate::authority::entropy::Entropy;

/// A proof for one request.
pub(super) fn dpop(
    key: &SigningKey,
    method: &str,
    url: &str,
    token: Option<&str>,
    nonce: Option<&str>,
) -> String {
    let header = json!({
        "typ": "dpop+jwt",
        "alg": "EdDSA",
        "jwk": {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        },
    });
    let mut claims = json!({
        "htm": method,
        "htu": url,
        "iat": SystemClock.now().unix(),
        "jti": unique(),
    });
    if let Some(members) = claims.as_object_mut() {
        members.extend(token.map(|t| ("ath".to_owned(), json!(token_hash(t)))));
        members.extend(nonce.map(|n| ("nonce".to_owned(), json!(n))));
    }
    sign(key, &header, &claims)
}

/// An assertion for the token endpoint.
pub(super) fn assertion(key: &SigningKey, server: &Origin) -> String {
    let device = DeviceId::of(&key.verifying_key()).to_string();
    let now = SystemClock.now().unix();
    let claims = json!({
        "iss": device,
        "sub": device,
        "aud": server.as_str(),
        "iat": now,
        "exp": now + 60,
        "jti": unique(),
    });
    sign(key, &json!({"typ": "JWT", "alg": "EdDSA"}), &claims)
}

fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn unique() -> String {
    let mut bytes = [0; 16];
    Entropy::system().rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}
