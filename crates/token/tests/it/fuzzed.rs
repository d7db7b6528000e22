//! What holds of any bytes that are read as a token. The fuzzers of `fuzz/` ask
//! it of bytes that they find, and `corpus.rs` of those that are kept.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use biscuit_auth::format::schema::{self, proof::Content};
use ed25519_dalek::SigningKey;
use hardtack_token::{
    Catalog, ChainProfile, KeyRing, Profile, PublicKey, Published, Request, Requirement,
    Revocations, Scope, TokenText, Untrusted, Verifier,
};
use prost::Message;
use serde_json::Value;

use crate::forge::{Handmade, append, begin, put_together, sealed};
use crate::support::{NOW, Reference, get};

/// A verifier of the test vectors, with the secrets of their keys.
struct Setting {
    verifier: Verifier,
    keys: Arc<KeyRing>,
    catalog: Arc<Catalog>,
    root: SigningKey,
    attestation: SigningKey,
    /// The access tokens that there are: nobody has signed another.
    genuine: Vec<String>,
}

static SETTING: LazyLock<Setting> = LazyLock::new(|| {
    let mut keys: Value = serde_json::from_str(include_str!("../vectors/keys.json")).unwrap();
    let secret = |list: &str| {
        let secret = hex::decode(keys[list][0]["secret"].as_str().unwrap()).unwrap();
        SigningKey::from_bytes(secret.as_slice().try_into().unwrap())
    };
    let (root, attestation) = (secret("root_keys"), secret("attestation_keys"));
    keys["instance_id"] = "vectors".into();
    let document: Published = serde_json::from_value(keys).unwrap();
    let ring = document.keys().unwrap();
    // Read once, and known for longer than any request here is away.
    let revocations = Arc::new(Revocations::new(3600));
    revocations.confirm(NOW);
    Setting {
        keys: Arc::new(ring.clone()),
        verifier: Verifier::new(ring, revocations, 1 << 20),
        catalog: Arc::new(document.catalog().unwrap()),
        root,
        attestation,
        genuine: accepted(),
    }
});

/// The access tokens of the test vectors.
pub(crate) fn accepted() -> Vec<String> {
    let vectors = include_str!("../vectors/accepted.json");
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let texts = vectors.iter().map(|v| v["token"].as_str().unwrap());
    texts.map(str::to_owned).collect()
}

/// Requests of every kind, and the scope that each needs, if any.
fn asks() -> [(Request<'static>, Option<&'static str>); 5] {
    let known = "3ec1c305a0e5c43b2690006aca3a499371428bc695383ce129b807270cf65ff7";
    let holder = Some(known.parse().unwrap());
    let api = get("/api/x");
    let list = Request {
        holder,
        operation: Some("device.pair.list"),
        ..get("/v1/devices/7")
    };
    let upgrade = Request {
        method: Some("WEBSOCKET"),
        ..api
    };
    let frame = Request {
        holder,
        method: None,
        path: None,
        operation: Some("device.pair.list"),
        ..api
    };
    let late = Request {
        now: NOW.plus(901),
        ..api
    };
    [
        (api, None),
        (list, Some("operator.read")),
        (upgrade, Some("operator.write")),
        (frame, Some("operator.pairing")),
        (late, Some("*")),
    ]
}

impl Setting {
    fn required(&self, scope: Option<&str>) -> Vec<Requirement> {
        let scope = scope.map(|name| name.parse::<Scope>().unwrap());
        scope
            .map(|scope| self.catalog.require(&scope).unwrap())
            .into_iter()
            .collect()
    }

    /// `ok` or the code of the refusal, for each of [`asks`].
    fn decide(&self, text: &str) -> Vec<&'static str> {
        let decide = |(request, scope): &(Request<'_>, Option<&str>)| {
            let (verifier, required) = (&self.verifier, self.required(*scope));
            match verifier.authorize(text, &self.catalog, request, &required) {
                Ok(_) => "ok",
                Err(denial) => {
                    let words = denial.to_string();
                    assert!(!words.contains(char::is_control), "{words:?}");
                    assert!(words.len() < 8 * 1024, "{} bytes of reason", words.len());
                    denial.code()
                }
            }
        };
        asks().iter().map(decide).collect()
    }

    /// The same blocks, signed by those who should.
    fn signed(&self, raw: &schema::Biscuit) -> TokenText {
        let next = SigningKey::from_bytes(&[3; 32]);
        let mut open = begin(&self.root, 1, raw.authority.block.clone(), &next);
        for block in &raw.blocks {
            let attested = block.external_signature.is_some();
            let handmade = Handmade {
                data: block.block.clone(),
                attested_by: attested.then_some(&self.attestation),
                payload: block.version.unwrap_or(0),
                next: &next,
            };
            open = append(&open, &handmade);
        }
        let open = put_together(&open);
        match raw.proof.content {
            Some(Content::FinalSignature(_)) => sealed(&open),
            Some(Content::NextSecret(_)) | None => open,
        }
    }

    /// Holds what is decided on blocks of the profile, once they are signed,
    /// against what Datalog says and against the token without its last block.
    fn compare(&self, raw: &schema::Biscuit, claims: &ChainProfile) {
        let token = self.signed(raw);
        let read = chain(&token).unwrap();
        assert_eq!(read, *claims, "the same blocks are read in two ways");
        let native = self.decide(token.expose());
        if claims.session.is_none() {
            assert_eq!(native, ["grant_not_accepted"; 5]);
            return;
        }
        for early in [
            "malformed_token",
            "outside_profile",
            "unknown_key",
            "bad_signature",
        ] {
            assert!(!native.contains(&early), "{early} only when it is signed");
        }
        let public = |key: &SigningKey| PublicKey::from_bytes(&key.verifying_key().to_bytes());
        let root = public(&self.root).unwrap();
        let attestation = public(&self.attestation).unwrap();
        let reference = Reference::new(&token, &root, &attestation);
        let leaf = claims.leaf().id;
        let shorter = (!claims.holder.is_empty()).then(|| {
            let mut shorter = raw.clone();
            shorter.blocks.pop();
            self.decide(self.signed(&shorter).expose())
        });
        for (i, (request, scope)) in asks().iter().enumerate() {
            let required = self.required(*scope);
            let datalog = reference
                .as_ref()
                .is_some_and(|reference| reference.allows(leaf, &self.catalog, request, &required));
            assert_eq!(native[i] == "ok", datalog, "{request:?}: {}", native[i]);
            let wider = shorter.as_ref().is_none_or(|codes| codes[i] == "ok");
            assert!(wider || native[i] != "ok", "a holder's block widened");
        }
    }
}

/// What a text says, if it is a chain of the profile.
fn chain(token: &TokenText) -> Option<ChainProfile> {
    match Untrusted::inspect(token).ok()?.claims() {
        Profile::Chain(chain) => Some((**chain).clone()),
        Profile::Root(_) => None,
    }
}

/// Whatever is read has one form, only what was signed verifies, and a token that
/// was seen before is decided on as it was the first time.
pub(crate) fn token_text(data: &[u8]) {
    let setting = &*SETTING;
    let text = String::from_utf8_lossy(data);
    let codes = setting.decide(&text);
    assert_eq!(
        codes,
        setting.decide(&text),
        "a second look sees another token"
    );
    let verified = setting.verifier.verify(&text, &setting.catalog, NOW);
    let genuine = setting.genuine.iter().any(|known| *known == text);
    assert_eq!(verified.is_ok(), genuine, "{text}");
    let Ok(token) = TokenText::new(&*text) else {
        return;
    };
    let read = Untrusted::read(&token, &setting.keys);
    if let Err(denial) = &read {
        assert_eq!(
            codes,
            [denial.code(); 5],
            "the earliest reason is the one given"
        );
    }
    if read.is_ok() || Untrusted::inspect(&token).is_ok() {
        has_one_form(&text);
    }
}

/// Base64url, container and blocks are what they would be if they were written anew.
fn has_one_form(text: &str) {
    let bytes = URL_SAFE.decode(text).unwrap();
    assert_eq!(URL_SAFE.encode(&bytes), text);
    let raw = schema::Biscuit::decode(bytes.as_slice()).unwrap();
    assert!(raw.encode_to_vec() == bytes, "a container of another form");
    for signed in std::iter::once(&raw.authority).chain(&raw.blocks) {
        let block = schema::Block::decode(signed.block.as_slice()).unwrap();
        assert!(
            block.encode_to_vec() == signed.block,
            "a block of another form"
        );
        let external = signed.external_signature.as_ref();
        let keys = external.map(|e| &e.public_key).into_iter();
        for key in keys.chain([&signed.next_key]) {
            assert_eq!((key.algorithm, key.key.len()), (0, 32));
        }
    }
}

/// The same of bytes; and what their blocks say, if they are of the profile, is
/// what Datalog says, once they are signed.
pub(crate) fn container(data: &[u8]) {
    let encoded = URL_SAFE.encode(data);
    token_text(encoded.as_bytes());
    let Some(claims) = TokenText::new(encoded).ok().as_ref().and_then(chain) else {
        return;
    };
    let raw = schema::Biscuit::decode(data).unwrap();
    SETTING.compare(&raw, &claims);
}

/// The first byte names a block of a genuine token; the others take its place.
/// Whatever is then of the profile says what Datalog says.
pub(crate) fn blocks(data: &[u8]) {
    let Some((place, block)) = data.split_first() else {
        return;
    };
    let starts = starts();
    let mut raw = starts[usize::from(place >> 3) % starts.len()].clone();
    let at = usize::from(place & 7) % (1 + raw.blocks.len());
    let replaced = match at.checked_sub(1) {
        None => &mut raw.authority,
        Some(after) => &mut raw.blocks[after],
    };
    replaced.block = block.to_vec();
    let Ok(token) = TokenText::new(URL_SAFE.encode(raw.encode_to_vec())) else {
        return;
    };
    if let Some(claims) = chain(&token) {
        has_one_form(token.expose());
        SETTING.compare(&raw, &claims);
    }
}

/// The tokens of which blocks are replaced: no two with the same row of blocks
/// and of checks in them, and as many as a byte has room for.
pub(crate) fn starts() -> &'static [schema::Biscuit] {
    static STARTS: LazyLock<Vec<schema::Biscuit>> = LazyLock::new(|| {
        let mut seen = BTreeSet::new();
        let tokens = SETTING
            .genuine
            .iter()
            .map(|text| URL_SAFE.decode(text).unwrap());
        let raw = tokens.map(|bytes| schema::Biscuit::decode(bytes.as_slice()).unwrap());
        let form = |raw: &schema::Biscuit| {
            let blocks = std::iter::once(&raw.authority).chain(&raw.blocks);
            let checks = blocks.map(|b| {
                schema::Block::decode(b.block.as_slice())
                    .unwrap()
                    .checks
                    .len()
            });
            checks.collect::<Vec<_>>()
        };
        raw.filter(|raw| seen.insert(form(raw))).take(32).collect()
    });
    &STARTS
}
