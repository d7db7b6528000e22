//! Who a client of the OAuth endpoints is: a device that proves its key, or a
//! service with its token as the secret.

use std::sync::Arc;

use hardtack_token::dpop::ProofError;
use hardtack_token::{Access, DeviceId, Profile, PublicKey, TokenText, Untrusted};

use crate::authority::error::Word;
use crate::authority::proof::{ProvenKey, Target};
use crate::authority::{Authority, Error};
use crate::domain::grant::Holder;
use crate::domain::policy::Policy;
use crate::store::Tx;

/// What a client brings to show who it is.
#[derive(Clone, Copy, Debug)]
pub struct Proofs<'a> {
    /// The request that a DPoP proof must have been made for.
    pub target: Target<'a>,
    /// The `DPoP` header.
    pub dpop: Option<&'a str>,
    /// The `client_assertion` (RFC 7523).
    pub assertion: Option<&'a str>,
    /// The `client_id`: a device's id or a service's name.
    pub client_id: Option<&'a str>,
    /// The `client_secret`: the service's token.
    pub secret: Option<&'a str>,
}

impl<'a> Proofs<'a> {
    /// Nothing yet, for a request to this target.
    #[must_use]
    pub const fn none(target: Target<'a>) -> Self {
        Self {
            target,
            dpop: None,
            assertion: None,
            client_id: None,
            secret: None,
        }
    }
}

/// The key that a request was made with, and whether a token is to be bound to it.
pub(crate) struct Proven {
    keys: Vec<ProvenKey>,
    pub(crate) bind: bool,
    /// The service whose secret came along.
    pub(crate) service: Option<Service>,
}

/// A service that showed its token.
pub(crate) struct Service {
    pub(crate) token: TokenText,
    pub(crate) access: Arc<Access>,
}

/// Where the key of an assertion's device is looked for.
#[derive(Clone, Copy)]
pub(crate) enum KeyOf<'a> {
    /// With the pairing that led to this grant.
    Grant(&'a TokenText),
    /// With any pairing of the device, or in the assertion's own header.
    Anything,
}

impl Proven {
    /// The key, if one was proven.
    pub(crate) fn key(&self) -> Option<&ProvenKey> {
        self.keys.first()
    }

    pub(crate) fn device(&self) -> Option<DeviceId> {
        self.key().map(|key| key.device)
    }

    /// The device that tokens are to be bound to.
    pub(crate) fn holder(&self) -> Option<DeviceId> {
        self.device().filter(|_| self.bind)
    }
}

impl Authority {
    /// Lets a client in by what it brings: proofs are checked, counted and
    /// spent, the secret is looked at. `token` is the one in the request's body,
    /// which a DPoP proof may name.
    pub(crate) async fn enter_client(
        &self,
        policy: &Policy,
        proofs: Proofs<'_>,
        token: Option<&TokenText>,
        key_of: KeyOf<'_>,
    ) -> Result<(Proven, Tx), Error> {
        // Whatever can be refused without the database does not wait for it.
        let bound = match proofs.dpop {
            Some(header) => Some(self.check_dpop_of_client(header, proofs, token)?),
            None => None,
        };
        let mut tx = self.write().await?;
        let mut keys = Vec::new();
        if let Some(key) = bound {
            self.spend(&mut tx, &key.proof).await?;
            keys.push(key);
        }
        if let Some(assertion) = proofs.assertion {
            let key = self.prove_assertion(&mut tx, assertion, key_of).await?;
            // RFC 7521 section 4.2: a client id beside an assertion names the same client.
            check_client_id(proofs, key.device)?;
            keys.push(key);
        }
        if let [one, two] = keys.as_slice()
            && one.device != two.device
        {
            return Err(Error::WrongKey);
        }
        let service = match proofs.secret {
            Some(_) if proofs.assertion.is_some() => {
                return Err(Error::InvalidRequest(
                    "say who the client is in one way: a secret or an assertion".to_owned(),
                ));
            }
            Some(secret) => {
                let device = keys.first().map(|key| key.device);
                let named = proofs.client_id.unwrap_or_default();
                let found = self
                    .check_secret(&mut tx, policy, named, secret, device)
                    .await;
                Some(found.map_err(|error| error.said(Word::InvalidClient))?)
            }
            None => None,
        };
        let proven = Proven {
            bind: proofs.dpop.is_some(),
            keys,
            service,
        };
        Ok((proven, tx))
    }

    fn check_dpop_of_client(
        &self,
        header: &str,
        proofs: Proofs<'_>,
        token: Option<&TokenText>,
    ) -> Result<ProvenKey, Error> {
        let (key, nonce) = match token {
            Some(token) => self.check_dpop_of_exchange(header, proofs.target, token.expose())?,
            None => self.check_dpop(header, proofs.target, None)?,
        };
        self.limits.device(key.device, self.millis())?;
        self.check_nonce(nonce.as_deref())?;
        Ok(key)
    }

    async fn prove_assertion(
        &self,
        tx: &mut Tx,
        assertion: &str,
        key_of: KeyOf<'_>,
    ) -> Result<ProvenKey, Error> {
        let device = Self::assertion_subject(assertion)?;
        let known = self.known_key(tx, device, key_of).await?;
        let key = self.check_assertion(assertion, known.as_ref())?;
        self.limits.device(key.device, self.millis())?;
        if !tx.spend_proof(&key.proof).await? {
            return Err(Error::Assertion(ProofError::Replayed));
        }
        Ok(key)
    }

    /// The public key of the device that an assertion names: the store has it
    /// from the pairing, the local device's is derived.
    pub(crate) async fn known_key(
        &self,
        tx: &mut Tx,
        device: DeviceId,
        key_of: KeyOf<'_>,
    ) -> Result<Option<PublicKey>, Error> {
        if device == self.local_device() {
            let key = self.secrets().local_device().verifying_key();
            return Ok(Some(PublicKey::from_bytes(key.as_bytes())?));
        }
        match key_of {
            KeyOf::Anything => Ok(tx.key_of_device(device).await?),
            KeyOf::Grant(token) => {
                let untrusted = Untrusted::read(token, &self.verifier.keys())?;
                let Profile::Chain(claims) = untrusted.claims() else {
                    return Ok(None);
                };
                // A grant that replaced another has no request of its own, and
                // a device has one key: its id is that key's hash.
                match tx.grant(claims.leaf().id).await? {
                    Some(grant) if grant.record.device() == Some(device) => {
                        Ok(tx.key_of_device(device).await?)
                    }
                    Some(_) => Err(Error::WrongKey),
                    None => Err(Error::UnknownGrant),
                }
            }
        }
    }

    /// The service whose token was presented as a client's secret.
    ///
    /// SECURITY: a token of a device, or one that was exchanged for the root
    /// token, is no client secret, whatever name comes with it.
    async fn check_secret(
        &self,
        tx: &mut Tx,
        policy: &Policy,
        named: &str,
        secret: &str,
        proven: Option<DeviceId>,
    ) -> Result<Service, Error> {
        let now = self.now();
        let token = TokenText::new(secret)?;
        let access = self.verifier.verify_once(&token, policy.catalog(), now)?;
        access.check_live(now, proven)?;
        let record = self
            .live_session(tx, access.session().id, access.grant_id())
            .await?;
        match &record.holder {
            Holder::Service(name) if !record.by_root() && name.as_str() == named => {}
            Holder::Service(_) | Holder::Device(_) => return Err(Error::WrongClient),
        }
        self.limits.grant(record.id, self.millis())?;
        tx.grant_used(record.id, now).await?;
        Ok(Service { token, access })
    }
}

/// Refuses a client id that is not the one of the device whose key was proven.
pub(crate) fn check_client_id(proofs: Proofs<'_>, device: DeviceId) -> Result<(), Error> {
    match proofs.client_id {
        Some(named) if named.parse() != Ok(device) => Err(Error::WrongClient),
        Some(_) | None => Ok(()),
    }
}
