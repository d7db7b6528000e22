//! Proofs of a device's key at the authority: DPoP, client assertions, nonces.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hardtack_token::dpop::{DpopProof, Expected, LEEWAY, ProofError, ProofId, WINDOW, check_time};
use hardtack_token::jws::Jws;
use hardtack_token::{DeviceId, Origin, PublicKey, Timestamp};
use serde::Deserialize;

use crate::authority::{Authority, Error};
use crate::store::Tx;

/// The path of the token endpoint, which a client assertion may name as its audience.
pub const TOKEN_PATH: &str = "/oauth/token";

/// How long a nonce is good: the period it was made in and the one after, in seconds.
const NONCE_PERIOD: u64 = 300;

/// The request that a proof must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path as the client sent it, without query.
    pub path: &'a str,
}

/// A device that proved its key with one request.
#[derive(Clone, Debug)]
pub struct ProvenKey {
    /// The device.
    pub device: DeviceId,
    /// Its key.
    pub key: PublicKey,
    /// The proof's one-time id, to be spent.
    pub proof: ProofId,
}

#[derive(Deserialize)]
struct AssertionClaims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: Option<f64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Authority {
    /// Checks a `DPoP` header against the request it came with.
    pub fn check_dpop(
        &self,
        header: &str,
        target: Target<'_>,
        token: Option<&str>,
    ) -> Result<(ProvenKey, Option<String>), Error> {
        self.verify_dpop(header, target, token).map(proven)
    }

    /// The same where the token is in the body: the proof need not name it, and
    /// must not name another.
    pub fn check_dpop_of_exchange(
        &self,
        header: &str,
        target: Target<'_>,
        token: &str,
    ) -> Result<(ProvenKey, Option<String>), Error> {
        let proof = self.verify_dpop(header, target, None)?;
        if proof.names_token {
            return self.check_dpop(header, target, Some(token));
        }
        Ok(proven(proof))
    }

    /// Checks a client assertion (RFC 7523, `private_key_jwt`). `known` is the
    /// key of the device that the assertion names, if it is known already.
    pub fn check_assertion(
        &self,
        assertion: &str,
        known: Option<&PublicKey>,
    ) -> Result<ProvenKey, Error> {
        self.read_assertion(assertion, known)
            .map_err(Error::Assertion)
    }

    /// The device that an assertion names. Nothing is proven by it.
    pub fn assertion_subject(assertion: &str) -> Result<DeviceId, Error> {
        let read = || -> Result<DeviceId, ProofError> {
            let claims: AssertionClaims = Jws::parse(assertion)?.unverified()?;
            claims.sub.parse().map_err(|_| ProofError::Claim("sub"))
        };
        read().map_err(Error::Assertion)
    }

    /// Spends a proof in the transaction of what it was made for.
    pub async fn spend(&self, tx: &mut Tx, proof: &ProofId) -> Result<(), Error> {
        if tx.spend_proof(proof).await? {
            Ok(())
        } else {
            Err(ProofError::Replayed.into())
        }
    }

    /// The nonce that proofs are to be made with now.
    pub fn nonce(&self) -> Result<String, Error> {
        self.nonce_of(self.now().unix() / NONCE_PERIOD)
    }

    /// Demands a nonce of ours in a proof.
    pub fn check_nonce(&self, nonce: Option<&str>) -> Result<(), Error> {
        let period = self.now().unix() / NONCE_PERIOD;
        for period in [period, period.saturating_sub(1)] {
            if nonce == Some(self.nonce_of(period)?.as_str()) {
                return Ok(());
            }
        }
        Err(Error::NonceRequired)
    }

    fn verify_dpop(
        &self,
        header: &str,
        target: Target<'_>,
        token: Option<&str>,
    ) -> Result<DpopProof, Error> {
        let ours = |origin: &Origin| self.is_ours(origin);
        let expected = Expected {
            method: target.method,
            path: target.path,
            origin: &ours,
            token,
            now: self.now(),
        };
        Ok(DpopProof::verify(header, &expected)?)
    }

    fn nonce_of(&self, period: u64) -> Result<String, Error> {
        Ok(URL_SAFE_NO_PAD.encode(self.secrets().nonce(period)?))
    }

    /// Whether a URL's origin is one under which clients reach the API. A
    /// loopback host is, on any port: it may be forwarded from elsewhere.
    fn is_ours(&self, origin: &Origin) -> bool {
        origin.is_loopback() || self.settings.public_urls.contains(origin)
    }

    fn read_assertion(
        &self,
        assertion: &str,
        known: Option<&PublicKey>,
    ) -> Result<ProvenKey, ProofError> {
        let jws = Jws::parse(assertion)?;
        // SECURITY: a DPoP proof is sent to other servers too; it must never
        // pass for an assertion.
        if jws.header.typ.as_deref() == Some("dpop+jwt") {
            return Err(ProofError::Type("JWT"));
        }
        let key = match known {
            Some(key) => *key,
            None => jws.own_key()?,
        };
        let claims: AssertionClaims = jws.verify(key.verifying_key())?;
        let device = DeviceId::of(key.verifying_key());
        if claims.iss != claims.sub || claims.sub.parse() != Ok(device) {
            return Err(ProofError::Claim("sub"));
        }
        if !self.names_us(&claims.aud) {
            return Err(ProofError::Claim("aud"));
        }
        let until = self.check_expiry(&claims)?;
        Ok(ProvenKey {
            device,
            proof: ProofId::new(&device, &claims.jti, until)?,
            key,
        })
    }

    fn names_us(&self, audience: &Audience) -> bool {
        let values = match audience {
            Audience::One(value) => std::slice::from_ref(value),
            Audience::Many(values) => values.as_slice(),
        };
        values.iter().any(|value| {
            Origin::split(value).is_ok_and(|(origin, path)| {
                self.is_ours(&origin) && matches!(path.as_str(), "/" | TOKEN_PATH)
            })
        })
    }

    fn check_expiry(&self, claims: &AssertionClaims) -> Result<Timestamp, ProofError> {
        let now = self.now();
        if let Some(iat) = claims.iat {
            check_time(iat, now)?;
        }
        // From here on `exp` is within the window of an `iat` around now, which
        // is the 60 s (and leeway) that an assertion may live.
        let expires = check_time(claims.exp, now).map_err(|error| match error {
            ProofError::Claim(_) => ProofError::Claim("exp"),
            other => other,
        })?;
        if expires.plus(LEEWAY) <= now {
            return Err(ProofError::Time {
                made_at: expires,
                now,
            });
        }
        Ok(now.plus(WINDOW + 2 * LEEWAY))
    }
}

/// The key of a proof, and the nonce it was made with.
fn proven(proof: DpopProof) -> (ProvenKey, Option<String>) {
    let key = ProvenKey {
        device: proof.device,
        key: proof.key,
        proof: proof.id,
    };
    (key, proof.nonce)
}
