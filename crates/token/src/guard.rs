//! From a request's credential to a permit, for every door: a gateway, a tower
//! layer, and whatever comes to stand beside them.
//!
//! It does no I/O and waits for nothing.

use std::fmt;
use std::sync::Arc;

use crate::access::{Access, Authenticated, Permit};
use crate::catalog::{Catalog, Requirement};
use crate::credential::Credential;
use crate::denial::{Denial, DenialKind};
use crate::dpop::{DpopProof, Expected, ProofError, ReplayMemory};
use crate::fold::{Request, WEBSOCKET};
use crate::origin::Origin;
use crate::time::{Clock, Timestamp};
use crate::verify::Verifier;

/// A request as it is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method that caveats know it by; [`WEBSOCKET`] for an upgrade.
    pub method: &'a str,
    /// The canonical path ([`crate::path::canonical`]), without the query.
    pub path: &'a str,
    /// The name of the RPC method, if it is one.
    pub operation: Option<&'a str>,
    /// The method on the wire, for which a proof was made.
    pub wire_method: &'a str,
    /// The path on the wire, for which a proof was made.
    pub wire_path: &'a str,
    /// What it presents.
    pub credential: Credential<'a>,
}

/// All that a decision depends on, but for the policy.
pub struct Guard {
    origin: Origin,
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
    proofs: Arc<ReplayMemory>,
}

/// A live credential and the request that it came with. What it allows is not decided yet.
#[derive(Debug)]
pub struct Admitted<'a> {
    authenticated: Authenticated,
    request: Request<'a>,
}

/// Why a credential was not admitted, or does not allow the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Rejection {
    /// What the verifier says of the token.
    #[error(transparent)]
    Token(#[from] Denial),
    /// The proof of possession does not fit.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A token that anybody may use came as one that is bound to a key.
    #[error("this token is not bound to a key: present it as `Authorization: Bearer`")]
    NotBound,
    /// The list of revocations was never read.
    #[error("the list of revocations has not been read yet")]
    NotReady,
}

/// A rejection, and the token it is of if its signatures fit.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// Why.
    pub why: Rejection,
    /// The token, once it is known to be genuine.
    pub access: Option<Arc<Access>>,
}

impl Asked<'_> {
    /// Whether it asks for a WebSocket. No method on the wire is called so.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.method == WEBSOCKET
    }
}

impl Rejection {
    /// The stable machine-readable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Token(denial) => denial.code(),
            Self::Proof(_) | Self::NotBound => "invalid_proof",
            Self::NotReady => "not_ready",
        }
    }

    /// The kind of answer.
    #[must_use]
    pub const fn kind(&self) -> DenialKind {
        match self {
            Self::Token(denial) => denial.kind(),
            Self::Proof(_) | Self::NotBound => DenialKind::Unauthenticated,
            Self::NotReady => DenialKind::Unavailable,
        }
    }
}

impl Guard {
    /// A guard of what is reached under `origin`. Proofs are remembered in
    /// `proofs`, which guards of one process share.
    #[must_use]
    pub const fn new(
        origin: Origin,
        verifier: Arc<Verifier>,
        clock: Arc<dyn Clock>,
        proofs: Arc<ReplayMemory>,
    ) -> Self {
        Self {
            origin,
            verifier,
            clock,
            proofs,
        }
    }

    /// The origin: the audience that tokens must be for.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Where "now" comes from.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Takes a request's credential as far as it goes without a policy: token,
    /// proof of possession, time, holder and audience.
    pub fn admit<'a>(
        &'a self,
        asked: &Asked<'a>,
        catalog: &Arc<Catalog>,
    ) -> Result<Admitted<'a>, Rejected> {
        let now = self.clock.now();
        let verified = match asked.credential {
            Credential::None => Err(Denial::MissingToken),
            Credential::Unreadable => Err(Denial::Malformed("it is not ASCII")),
            Credential::Bearer(token) | Credential::Dpop { token, .. } => {
                self.verifier.verify(token, catalog, now)
            }
        };
        let access = verified.map_err(|denial| Rejected {
            why: self.named(denial),
            access: None,
        })?;
        let of_holder = |why: Rejection| Rejected {
            why,
            access: Some(Arc::clone(&access)),
        };

        let proof = self.proof(asked, &access, now).map_err(of_holder)?;
        let request = Request {
            now,
            audience: self.origin.as_str(),
            holder: proof.as_ref().map(|proof| proof.device),
            method: Some(asked.method),
            path: Some(asked.path),
            operation: asked.operation,
        };
        let authenticated = Arc::clone(&access).authenticate(&request);
        // SECURITY: only the holder of a live token gets here, so nobody else
        // can fill the memory; and a proof that was seen is no credential,
        // whatever else is wrong.
        let is_credential = match &authenticated {
            Ok(_) => true,
            Err(denial) => denial.kind() == DenialKind::Forbidden,
        };
        if let Some(proof) = proof.filter(|_| is_credential) {
            let spent = self.proofs.spend(&proof.id, now);
            spent.map_err(|error| of_holder(error.into()))?;
        }
        let authenticated = authenticated.map_err(|denial| of_holder(denial.into()))?;
        Ok(Admitted {
            authenticated,
            request,
        })
    }

    /// Revocations that were never read are not old, they are not there yet; nor
    /// are keys that are read with them.
    fn named(&self, denial: Denial) -> Rejection {
        let unread = matches!(
            denial,
            Denial::RevocationsStale { .. } | Denial::UnknownKey(_)
        );
        if unread && self.verifier.revocations().as_of() == Timestamp::default() {
            return Rejection::NotReady;
        }
        denial.into()
    }

    /// The proof that came with a token of the scheme `DPoP`. Without one, or
    /// where the token's own time is over, the verifier has the word.
    fn proof(
        &self,
        asked: &Asked<'_>,
        access: &Access,
        now: Timestamp,
    ) -> Result<Option<DpopProof>, Rejection> {
        let Credential::Dpop { token, proof } = asked.credential else {
            return Ok(None);
        };
        if now >= access.expires_at() {
            return Ok(None);
        }
        // RFC 9449 section 7.1: what is not bound must not pass for bound.
        if !access.bound_to_holder() {
            return Err(Rejection::NotBound);
        }
        let Some(proof) = proof else {
            return Ok(None);
        };
        let ours = |origin: &Origin| origin.is_loopback() || *origin == self.origin;
        let verify = |path| {
            let expected = Expected {
                method: asked.wire_method,
                path,
                origin: &ours,
                token: Some(token),
                now,
            };
            DpopProof::verify(proof, &expected)
        };
        // Clients name the path as they send it, or as RFC 3986 normalises it.
        // Either way it is a proof for the path that is decided on.
        let mut verified = verify(asked.wire_path);
        if matches!(verified, Err(ProofError::Uri { .. })) && asked.wire_path != asked.path {
            verified = verify(asked.path);
        }
        Ok(Some(verified?))
    }
}

impl Admitted<'_> {
    /// The token.
    #[must_use]
    pub fn access(&self) -> &Access {
        self.authenticated.access()
    }

    /// The rest of the decision: method, path, operation and scopes. With no
    /// required scope, every block must still give some.
    pub fn authorize(self, required: &[Requirement]) -> Result<Permit, Rejected> {
        let decided = self
            .authenticated
            .authorize_or_return(&self.request, required);
        decided.map_err(|(denial, access)| Rejected {
            why: denial.into(),
            access: Some(access),
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
