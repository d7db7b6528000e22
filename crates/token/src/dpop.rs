//! Proof of possession with a request: DPoP (RFC 9449) with Ed25519 keys.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::id::DeviceId;
use crate::jws::{Jws, JwsError};
use crate::keys::PublicKey;
use crate::origin::Origin;
use crate::time::Timestamp;

/// How far `iat` may be from now, in seconds.
pub const WINDOW: u64 = 60;
/// What is allowed on top for clocks that differ, in seconds.
pub const LEEWAY: u64 = 10;
/// The longest `jti` and `nonce`, in bytes.
const MAX_NAME: usize = 256;

/// What a proof must have been made for.
pub struct Expected<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path of the request, without query.
    pub path: &'a str,
    /// Whether an origin is one of ours.
    pub origin: &'a dyn Fn(&Origin) -> bool,
    /// The token that is presented with it: `ath` must be its hash.
    pub token: Option<&'a str>,
    /// The present time.
    pub now: Timestamp,
}

/// A proof that fits. Whether it was used before, and whether its nonce is one
/// of ours, is for the caller to check.
#[derive(Clone, Debug)]
pub struct DpopProof {
    /// The key that was proven.
    pub key: PublicKey,
    /// The device of that key.
    pub device: DeviceId,
    /// The nonce it was made with.
    pub nonce: Option<String>,
    /// Whether it names a presented token (`ath`).
    pub names_token: bool,
    /// Its one-time id.
    pub id: ProofId,
}

/// The one-time id of a proof: a hash of its key and `jti`, and until when the
/// proof could be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofId {
    /// Whose proof it is.
    pub device: DeviceId,
    /// The hash to remember.
    pub hash: [u8; 32],
    /// From here on the proof is refused for its age alone.
    pub until: Timestamp,
}

/// Why a proof of possession is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// No proof was sent.
    #[error("no proof of the device's key was sent")]
    Missing,
    /// It is not a signed JWT of the right kind.
    #[error("the proof is refused: {0}")]
    Jws(#[from] JwsError),
    /// It is another kind of JWT.
    #[error("the proof's `typ` is not `{0}`")]
    Type(&'static str),
    /// A member is missing, too long or of another type.
    #[error("the proof's `{0}` is missing or not well formed")]
    Claim(&'static str),
    /// It was made for another method.
    #[error("the proof is for method `{made_for}`, the request is `{method}`")]
    Method {
        /// `htm`.
        made_for: String,
        /// The method of the request.
        method: String,
    },
    /// It was made for another path or another server.
    #[error(
        "the proof is for `{made_for}`, which is not this resource; start the server with `--public-url {origin}` if clients reach it there"
    )]
    Uri {
        /// `htu`.
        made_for: String,
        /// The origin in it.
        origin: String,
    },
    /// It is too old, or from the future.
    #[error("the proof was made at {made_at}, it is now {now}; at most {} s apart are accepted: check both clocks", WINDOW + LEEWAY)]
    Time {
        /// `iat`.
        made_at: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// It was made for another token.
    #[error("the proof's `ath` is not the hash of the token it came with")]
    Token,
    /// It was used before.
    #[error("the proof was used before: make a new one for each request")]
    Replayed,
    /// The memory of proofs, or this key's share of it, is full.
    #[error(
        "too many proofs were used in the last minutes, so that this one could not be remembered: \
         send fewer requests, or present a token that is not bound as `Bearer`"
    )]
    TooMany,
}

#[derive(Deserialize)]
struct Claims {
    htm: String,
    htu: String,
    iat: f64,
    jti: String,
    ath: Option<String>,
    nonce: Option<String>,
}

impl DpopProof {
    /// Reads a `DPoP` header and checks all that can be checked without memory.
    pub fn verify(header: &str, expected: &Expected<'_>) -> Result<Self, ProofError> {
        let jws = Jws::parse(header)?;
        if jws.header.typ.as_deref() != Some("dpop+jwt") {
            return Err(ProofError::Type("dpop+jwt"));
        }
        let key = jws.own_key()?;
        let claims: Claims = jws.verify(key.verifying_key())?;
        if claims.htm != expected.method {
            return Err(ProofError::Method {
                made_for: claims.htm.chars().take(16).collect(),
                method: expected.method.to_owned(),
            });
        }
        check_uri(&claims.htu, expected)?;
        let made_at = check_time(claims.iat, expected.now)?;
        if let Some(token) = expected.token
            && claims.ath.as_deref() != Some(&token_hash(token))
        {
            return Err(ProofError::Token);
        }
        let device = DeviceId::of(key.verifying_key());
        Ok(Self {
            key,
            device,
            names_token: claims.ath.is_some(),
            id: ProofId::new(&device, &claims.jti, made_at.plus(WINDOW + LEEWAY))?,
            nonce: match claims.nonce {
                Some(nonce) if nonce.len() > MAX_NAME => return Err(ProofError::Claim("nonce")),
                nonce => nonce,
            },
        })
    }
}

impl ProofId {
    /// The id of a JWT with this `jti` by this device.
    pub fn new(device: &DeviceId, jti: &str, until: Timestamp) -> Result<Self, ProofError> {
        if jti.is_empty() || jti.len() > MAX_NAME {
            return Err(ProofError::Claim("jti"));
        }
        let mut hash = Sha256::new();
        hash.update(device.as_bytes());
        hash.update(jti.as_bytes());
        Ok(Self {
            device: *device,
            hash: hash.finalize().into(),
            until,
        })
    }
}

/// Whether a JWT's `iat` is near enough to now.
pub fn check_time(iat: f64, now: Timestamp) -> Result<Timestamp, ProofError> {
    if !(0.0..=9e15).contains(&iat) {
        return Err(ProofError::Claim("iat"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked; a NumericDate may have a fraction (RFC 7519 section 2)"
    )]
    let made_at = Timestamp::from_unix(iat as u64);
    if now.since(made_at).max(made_at.since(now)) > WINDOW + LEEWAY {
        return Err(ProofError::Time { made_at, now });
    }
    Ok(made_at)
}

/// The hash of a token that `ath` holds (RFC 9449 section 4.2).
#[must_use]
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

/// The RFC 7638 thumbprint of a device's key, which `cnf.jkt` holds.
#[must_use]
pub fn thumbprint(key: &PublicKey) -> String {
    let x = URL_SAFE_NO_PAD.encode(key.as_bytes());
    // The members in lexical order, without white space (RFC 7638 section 3).
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(canonical.as_bytes()))
}

fn check_uri(htu: &str, expected: &Expected<'_>) -> Result<(), ProofError> {
    let (origin, path) = Origin::split(htu).map_err(|_| ProofError::Claim("htu"))?;
    if path == expected.path && (expected.origin)(&origin) {
        return Ok(());
    }
    Err(ProofError::Uri {
        made_for: htu.chars().take(200).collect(),
        origin: origin.to_string(),
    })
}

impl fmt::Debug for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expected({} {})", self.method, self.path)
    }
}

/// The proofs that one process has seen, for as long as they could be replayed.
///
/// Bounded: when it is full, further proofs are refused rather than old ones
/// forgotten. One key gets a quarter of it at most, so that no holder of a token
/// can refuse all others. Another process does not see them; a gateway that must not accept
/// a proof twice within its window anywhere needs a shared one.
#[derive(Debug)]
pub struct ReplayMemory {
    limit: usize,
    seen: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    started: Timestamp,
    current: Generation,
    previous: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    /// The first half of each hash: nobody finds another proof for one.
    seen: HashSet<[u8; 16]>,
    by_device: HashMap<DeviceId, usize>,
}

/// How many keys it takes to fill the memory.
const SHARES: usize = 4;

fn first_half(hash: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|i| hash.get(i).copied().unwrap_or_default())
}

impl ReplayMemory {
    /// A memory of at most `limit` proofs in any two windows.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            seen: Mutex::default(),
        }
    }

    /// Remembers a proof; fails if it was seen before, or if there is no room.
    pub fn spend(&self, proof: &ProofId, now: Timestamp) -> Result<(), ProofError> {
        // A proof lives at most from `now - W` to `now + W`: two generations of
        // that length hold every one that could come again.
        const LENGTH: u64 = 2 * (WINDOW + LEEWAY);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(seen.started) > LENGTH {
            let fresh = now.since(seen.started) <= 2 * LENGTH;
            let last = std::mem::take(&mut seen.current);
            seen.previous = if fresh { last } else { Generation::default() };
            seen.started = now;
        }
        let hash = first_half(&proof.hash);
        if seen.previous.seen.contains(&hash) || seen.current.seen.contains(&hash) {
            return Err(ProofError::Replayed);
        }
        let both = [&seen.current, &seen.previous];
        let all: usize = both.iter().map(|part| part.seen.len()).sum();
        let of_device = |part: &&Generation| part.by_device.get(&proof.device).copied();
        let own: usize = both.iter().filter_map(of_device).sum();
        if all >= self.limit || own >= self.limit.div_ceil(SHARES) {
            return Err(ProofError::TooMany);
        }
        seen.current.seen.insert(hash);
        *seen.current.by_device.entry(proof.device).or_default() += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_796_083_200);

    fn proof(header: &str, claims: &str) -> String {
        let key = SigningKey::from_bytes(&[5; 32]);
        let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
        let header = header.replace("<x>", &x);
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = key.sign(signed.as_bytes()).to_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    const HEADER: &str =
        r#"{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"<x>"}}"#;

    fn claims(change: &[(&str, &str)]) -> String {
        let mut text = r#"{"htm":"POST","htu":"http://127.0.0.1:7420/oauth/token?q#f","iat":1796083200,"jti":"j","nonce":"n"}"#.to_owned();
        for (from, to) in change {
            assert!(text.contains(from));
            text = text.replace(from, to);
        }
        text
    }

    fn verify(header: &str, claims: &str) -> Result<DpopProof, ProofError> {
        DpopProof::verify(
            &proof(header, claims),
            &Expected {
                method: "POST",
                path: "/oauth/token",
                origin: &Origin::is_loopback,
                token: None,
                now: NOW,
            },
        )
    }

    #[test]
    fn a_proof_for_this_request_is_accepted() {
        let proof = verify(HEADER, &claims(&[])).unwrap();
        let key = SigningKey::from_bytes(&[5; 32]).verifying_key();
        assert_eq!(proof.device, DeviceId::of(&key));
        assert_eq!(proof.nonce.as_deref(), Some("n"));
        assert!(!proof.names_token);
    }

    #[test]
    fn a_proof_for_anything_else_is_refused() {
        for change in [
            ("\"POST\"", "\"GET\""),
            ("/oauth/token", "/oauth/revoke"),
            ("127.0.0.1", "10.0.0.1"),
            ("1796083200", "1796083129"),
            ("1796083200", "1796083271"),
            ("1796083200", "-1"),
            ("1796083200", "1e300"),
            ("\"jti\":\"j\"", "\"jti\":\"\""),
            ("\"jti\":\"j\"", "\"ath\":\"j\""),
        ] {
            assert!(verify(HEADER, &claims(&[change])).is_err(), "{change:?}");
        }
        assert!(verify(HEADER, &claims(&[("1796083200", "1796083130.5")])).is_ok());
    }

    #[test]
    fn only_ed25519_with_a_public_key_is_accepted() {
        for (from, to) in [
            ("EdDSA", "none"),
            ("EdDSA", "HS256"),
            ("dpop+jwt", "jwt"),
            ("OKP", "EC"),
            ("\"x\"", "\"d\":\"AA\",\"x\""),
            ("\"alg\"", "\"crit\":[\"x\"],\"alg\""),
        ] {
            let header = HEADER.replace(from, to);
            assert!(verify(&header, &claims(&[])).is_err(), "{to}");
        }
        assert!(verify(&HEADER.replace("EdDSA", "Ed25519"), &claims(&[])).is_ok());
    }

    #[test]
    fn a_proof_must_name_the_token_it_comes_with() {
        let with = |ath: &str| {
            let claims = claims(&[("\"jti\"", &format!("\"ath\":\"{ath}\",\"jti\""))]);
            let expected = Expected {
                method: "POST",
                path: "/oauth/token",
                origin: &Origin::is_loopback,
                token: Some("token"),
                now: NOW,
            };
            DpopProof::verify(&proof(HEADER, &claims), &expected)
        };
        assert!(with(&token_hash("token")).unwrap().names_token);
        assert_eq!(with(&token_hash("other")).unwrap_err(), ProofError::Token);
    }

    #[test]
    fn a_proof_is_spent_once_for_as_long_as_it_lives() {
        let memory = ReplayMemory::new(100);
        let id = verify(HEADER, &claims(&[])).unwrap().id;
        memory.spend(&id, NOW).unwrap();
        for later in [0, 1, 70, 141, 142] {
            let now = NOW.plus(later);
            assert_eq!(memory.spend(&id, now), Err(ProofError::Replayed), "{later}");
        }
    }

    #[test]
    fn a_full_memory_refuses_rather_than_forgets() {
        let memory = ReplayMemory::new(2);
        let spend = |n, now| memory.spend(&id(n, n), now);
        spend(1, NOW).unwrap();
        spend(2, NOW).unwrap();
        assert_eq!(spend(3, NOW), Err(ProofError::TooMany));
        assert_eq!(spend(1, NOW), Err(ProofError::Replayed));
        assert!(spend(3, NOW.plus(300)).is_ok());
    }

    #[test]
    fn one_key_cannot_fill_the_memory() {
        let memory = ReplayMemory::new(40);
        let mut now = NOW;
        for n in 0..10 {
            // Across two generations.
            now = if n == 5 { NOW.plus(141) } else { now };
            memory.spend(&id(1, n), now).unwrap();
        }
        for n in 10..60 {
            assert_eq!(memory.spend(&id(1, n), now), Err(ProofError::TooMany));
        }
        assert_eq!(memory.spend(&id(1, 9), now), Err(ProofError::Replayed));
        for n in 60..90 {
            memory.spend(&id(n, n), now).unwrap();
        }
        // What a generation held is free when it is over.
        memory.spend(&id(1, 100), NOW.plus(300)).unwrap();
    }

    fn id(device: u8, n: u8) -> ProofId {
        ProofId {
            device: DeviceId::from_bytes([device; 32]),
            hash: [n; 32],
            until: NOW,
        }
    }

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(x).unwrap().try_into().unwrap();
        let key = PublicKey::from_bytes(&bytes).unwrap();
        assert_eq!(
            thumbprint(&key),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
