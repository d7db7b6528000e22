//! `proofs.json`: proofs of possession (DPoP) and whether they fit a request.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer;
use hardtack_token::dpop::{DpopProof, Expected, ProofError, token_hash};
use hardtack_token::{Origin, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::device_key;
use crate::support::NOW;

const TOKEN: &str = "dG9rZW4=";

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Vector {
    name: String,
    proof: String,
    now: String,
    method: String,
    path: String,
    origin: String,
    token: Option<String>,
    /// The device whose key is proven; absent where the proof is refused.
    device_id: Option<String>,
    /// Our words for a refusal; another verifier may choose its own.
    words: Option<String>,
}

impl Vector {
    fn verify(&self) -> Result<DpopProof, ProofError> {
        let ours = |origin: &Origin| origin.as_str() == self.origin;
        let expected = Expected {
            method: &self.method,
            path: &self.path,
            origin: &ours,
            token: self.token.as_deref(),
            now: self.now.parse().unwrap(),
        };
        DpopProof::verify(&self.proof, &expected)
    }

    fn decided(mut self) -> Self {
        match self.verify() {
            Ok(proof) => self.device_id = Some(proof.device.to_string()),
            Err(error) => self.words = Some(error.to_string()),
        }
        self
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn jwt(header: &Value, claims: &Value, by: u8) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = device_key(by).sign(signed.as_bytes()).to_bytes();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    let x = URL_SAFE_NO_PAD.encode(device_key(1).verifying_key());
    json!({"alg": "EdDSA", "typ": "dpop+jwt", "jwk": {"crv": "Ed25519", "kty": "OKP", "x": x}})
}

fn claims() -> Value {
    json!({
        "jti": "0001",
        "htm": "GET",
        "htu": "https://gw.example/api/x",
        "iat": NOW.unix(),
        "ath": token_hash(TOKEN),
    })
}

fn with(mut value: Value, pointer: &str, to: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match to {
        Value::Null => drop(parent.remove(name)),
        to => drop(parent.insert(name.to_owned(), to)),
    }
    value
}

pub(super) fn make() -> Vec<Vector> {
    let at = |now: Timestamp, name: &str, proof: String| {
        let vector = Vector {
            name: name.to_owned(),
            proof,
            now: now.to_string(),
            method: "GET".to_owned(),
            path: "/api/x".to_owned(),
            origin: "https://gw.example".to_owned(),
            token: Some(TOKEN.to_owned()),
            device_id: None,
            words: None,
        };
        vector.decided()
    };
    let claimed = |name: &str, pointer: &str, to: Value| {
        let claims = with(claims(), pointer, to);
        at(NOW, name, jwt(&header(), &claims, 1))
    };
    let headed = |name: &str, pointer: &str, to: Value| {
        let header = with(header(), pointer, to);
        at(NOW, name, jwt(&header, &claims(), 1))
    };
    let plain = || jwt(&header(), &claims(), 1);
    let d = URL_SAFE_NO_PAD.encode(device_key(1).to_bytes());
    let weak = URL_SAFE_NO_PAD.encode([&[1_u8][..], &[0; 31]].concat());
    vec![
        at(NOW, "for this request", plain()),
        headed("alg Ed25519 (RFC 9864)", "/alg", json!("Ed25519")),
        at(NOW.plus(70), "70 s old", plain()),
        at(NOW.plus(71), "71 s old", plain()),
        at(NOW.minus(70), "70 s ahead", plain()),
        at(NOW.minus(71), "71 s ahead", plain()),
        claimed("a fraction of a second", "/iat", json!(1_796_083_200.9)),
        claimed(
            "a query in htu",
            "/htu",
            json!("https://gw.example/api/x?q=1"),
        ),
        claimed(
            "the default port in htu",
            "/htu",
            json!("https://GW.example:443/api/x"),
        ),
        claimed("another method", "/htm", json!("PUT")),
        claimed("another path", "/htu", json!("https://gw.example/api/y")),
        claimed(
            "another origin",
            "/htu",
            json!("https://other.example/api/x"),
        ),
        claimed("another scheme", "/htu", json!("http://gw.example/api/x")),
        claimed("another token", "/ath", json!(token_hash("b3RoZXI="))),
        claimed("no ath", "/ath", Value::Null),
        claimed("no jti", "/jti", Value::Null),
        claimed("an empty jti", "/jti", json!("")),
        claimed("a jti of 257 bytes", "/jti", json!("j".repeat(257))),
        claimed("no iat", "/iat", Value::Null),
        claimed("a negative iat", "/iat", json!(-1)),
        headed("another typ", "/typ", json!("JWT")),
        headed("no typ", "/typ", Value::Null),
        headed("alg none", "/alg", json!("none")),
        headed("alg HS256", "/alg", json!("HS256")),
        headed("alg ES256", "/alg", json!("ES256")),
        headed("a critical extension", "/crit", json!(["b64"])),
        headed("a private key in jwk", "/jwk/d", json!(d)),
        headed("no jwk", "/jwk", Value::Null),
        headed("an EC key", "/jwk/kty", json!("EC")),
        headed("X25519", "/jwk/crv", json!("X25519")),
        headed("a key of low order", "/jwk/x", json!(weak)),
        at(NOW, "signed by another key", jwt(&header(), &claims(), 2)),
        at(NOW, "two parts", "e30.e30".to_owned()),
        at(NOW, "padded", format!("{}=", plain())),
    ]
}

#[test]
fn proof_vectors_are_decided_as_written() {
    let vectors: Vec<Vector> = super::read("proofs");
    let accepted = vectors.iter().filter(|v| v.device_id.is_some()).count();
    assert!(accepted >= 7 && vectors.len() - accepted >= 20);
    for vector in &vectors {
        match vector.verify() {
            Ok(proof) => {
                let device = Some(proof.device.to_string());
                assert_eq!(device, vector.device_id, "{}", vector.name);
            }
            Err(error) => {
                assert_eq!(vector.device_id, None, "{}", vector.name);
                assert_eq!(Some(error.to_string()), vector.words, "{}", vector.name);
            }
        }
    }
}
