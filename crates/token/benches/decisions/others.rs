//! What a decision is measured against: the signatures that it is made of, a JWT,
//! and the stock Biscuit library on the reference Datalog.

use std::hint::black_box;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use biscuit_auth::builder::{date, fact, string};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use hardtack_token::TokenText;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde_json::Value;

use crate::clock;
use crate::forge::stock_key;
use crate::support::{GATEWAY, NOW, World, claims};

/// What one of each costs, in nanoseconds.
pub(crate) struct Primitives {
    pub(crate) verify: f64,
    pub(crate) decompress: f64,
    pub(crate) derive: f64,
}

impl Primitives {
    pub(crate) fn measure() -> Self {
        let key = SigningKey::from_bytes(&[3; 32]);
        // A block's message is about as long.
        let message = [7; 400];
        let signature = key.sign(&message);
        let public = key.verifying_key();
        Self {
            verify: clock::each(|| {
                public
                    .verify_strict(black_box(&message), &signature)
                    .unwrap();
            }),
            decompress: clock::each(|| {
                black_box(VerifyingKey::from_bytes(black_box(public.as_bytes())).unwrap());
            }),
            derive: clock::each(|| {
                black_box(SigningKey::from_bytes(black_box(&[3; 32])).verifying_key());
            }),
        }
    }
}

/// The nanoseconds of decoding and verifying a JWT of a usual size.
pub(crate) fn jwt() -> f64 {
    let key = SigningKey::from_bytes(&[3; 32]);
    let end = u64::MAX / 4;
    let claims = format!(
        r#"{{"iss":"http://127.0.0.1:7420","aud":"{GATEWAY}","sub":"{}","scope":"operator.read operator.write","exp":{end},"jti":"0198c0de-0000-7000-8000-000000000001"}}"#,
        "3f".repeat(32)
    );
    let header = r#"{"typ":"JWT","alg":"EdDSA","kid":"1"}"#;
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = key.sign(signed.as_bytes()).to_bytes();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let key = DecodingKey::from_ed_der(key.verifying_key().as_bytes());
    let mut expected = Validation::new(Algorithm::EdDSA);
    expected.set_audience(&[GATEWAY]);
    clock::each(|| {
        let decoded = decode::<Value>(black_box(&token), &key, &expected);
        assert!(black_box(decoded).is_ok());
    })
}

/// The nanoseconds of the same decision by the stock library, its policy parsed before.
pub(crate) fn stock(world: &World, token: &TokenText) -> f64 {
    let root = stock_key(&world.root.public().unwrap());
    let leaf = claims(token).leaf().id.to_string();
    let policy = format!(
        "check if scope($s), accepts($s);
         allow if leaf($g), session($g, $n) trusting {};
         deny if true;",
        world.key.public().unwrap()
    );
    let mut prepared = AuthorizerBuilder::new()
        .set_limits(AuthorizerLimits {
            max_time: Duration::from_secs(20),
            ..AuthorizerLimits::default()
        })
        .code(policy)
        .unwrap();
    for scope in ["operator.read", "operator.write", "operator.admin", "*"] {
        prepared = prepared.fact(fact("accepts", &[string(scope)])).unwrap();
    }
    let now = UNIX_EPOCH + Duration::from_secs(NOW.unix());
    clock::each(|| {
        let mut builder = prepared.clone();
        for stated in [
            fact("time", &[date(&now)]),
            fact("audience", &[string(GATEWAY)]),
            fact("leaf", &[string(&leaf)]),
            fact("method", &[string("GET")]),
            fact("path", &[string("/api/x/")]),
        ] {
            builder = builder.fact(stated).unwrap();
        }
        let biscuit = Biscuit::from_base64(black_box(token.expose()), root).unwrap();
        assert!(builder.build(&biscuit).unwrap().authorize().is_ok());
    })
}
