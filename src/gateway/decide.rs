//! The one decision, for every door: canonical request in, permit or refusal out.
//!
//! It does no I/O and waits for nothing. What it is told has been read by the
//! door: one method, one canonical path, one credential.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hardtack_token::dpop::{DpopProof, Expected, ProofError, ReplayMemory};
use hardtack_token::{
    Access, Catalog, Clock, Denial, DenialKind, Origin, Permit, Request, Requirement, Timestamp,
    Verifier,
};

use crate::domain::policy::{Policy, Rule, WEBSOCKET};
use crate::gateway::refusal::{Refusal, Refused};
use hardtack_token::Credential;

/// A request as it is decided on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The method that the policy and the caveats know it by; `WEBSOCKET` for an upgrade.
    pub(crate) method: &'a str,
    /// The canonical path, without the query.
    pub(crate) path: &'a str,
    /// The method on the wire, for which a proof was made.
    pub(crate) wire_method: &'a str,
    /// The path on the wire, for which a proof was made.
    pub(crate) wire_path: &'a str,
    pub(crate) credential: Credential<'a>,
}

/// Who a request is allowed to.
#[derive(Debug)]
pub(crate) enum Allowed {
    /// Everybody: no credential was looked at.
    Everybody,
    /// The holder of a token.
    Holder(Permit),
}

/// All that a decision depends on.
pub(crate) struct Decider {
    origin: Origin,
    verifier: Arc<Verifier>,
    policy: Arc<ArcSwap<Policy>>,
    clock: Arc<dyn Clock>,
    proofs: Arc<ReplayMemory>,
}

/// What the holder of a valid token needs besides.
enum Need {
    Scope(Requirement),
    /// Any valid token will do.
    Nothing,
    /// No token will do.
    Impossible(Refusal),
}

impl Allowed {
    /// The token that it is allowed to, if it is not allowed to everybody.
    pub(crate) fn access(&self) -> Option<&Access> {
        match self {
            Self::Everybody => None,
            Self::Holder(permit) => Some(permit.access()),
        }
    }

    /// What lasts as long as the request does.
    pub(crate) fn into_permit(self) -> Option<Permit> {
        match self {
            Self::Everybody => None,
            Self::Holder(permit) => Some(permit),
        }
    }
}

impl Asked<'_> {
    /// Whether it asks for a WebSocket. No method on the wire is called so.
    pub(crate) fn is_websocket(&self) -> bool {
        self.method == WEBSOCKET
    }
}

impl Decider {
    pub(crate) fn new(
        origin: Origin,
        verifier: Arc<Verifier>,
        policy: Arc<ArcSwap<Policy>>,
        clock: Arc<dyn Clock>,
        proofs: Arc<ReplayMemory>,
    ) -> Self {
        Self {
            origin,
            verifier,
            policy,
            clock,
            proofs,
        }
    }

    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Decides by the policy in force.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Result<Allowed, Box<Refused>> {
        // INVARIANT: one snapshot for route and catalog, so that no decision
        // mixes two policies.
        let policy = self.policy.load();
        let need = match policy.rule(asked.method, asked.path) {
            Rule::Public => return Ok(Allowed::Everybody),
            Rule::Requires(requirement) => Need::Scope(requirement),
            Rule::Denied => Need::Impossible(Refusal::DeniedByPolicy),
            Rule::NoRoute => Need::Impossible(Refusal::NoRoute),
        };
        let permit = self.permit(asked, need, policy.catalog())?;
        Ok(Allowed::Holder(permit))
    }

    /// Decides on what any valid access token may do.
    pub(crate) fn decide_any(&self, asked: &Asked<'_>) -> Result<Permit, Box<Refused>> {
        let policy = self.policy.load();
        self.permit(asked, Need::Nothing, policy.catalog())
    }

    /// SECURITY: the token comes before the route, so that a caller without a
    /// valid one does not learn which routes there are.
    fn permit(
        &self,
        asked: &Asked<'_>,
        need: Need,
        catalog: &Arc<Catalog>,
    ) -> Result<Permit, Box<Refused>> {
        let now = self.clock.now();
        let verified = match asked.credential {
            Credential::None => Err(Denial::MissingToken),
            Credential::Unreadable => Err(Denial::Malformed("it is not ASCII")),
            Credential::Bearer(token) | Credential::Dpop { token, .. } => {
                self.verifier.verify(token, catalog, now)
            }
        };
        let access = verified.map_err(|denial| Refused::unknown(self.named(denial)))?;
        let holder = |why: Refusal| Box::new(Refused::holder(why, &access, catalog));

        let proof = self.proof(asked, &access, now).map_err(holder)?;
        let request = Request {
            now,
            audience: self.origin.as_str(),
            holder: proof.as_ref().map(|proof| proof.device),
            method: Some(asked.method),
            path: Some(asked.path),
            operation: None,
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
            spent.map_err(|error| holder(Refusal::Proof(error)))?;
        }
        let authenticated = authenticated.map_err(|denial| holder(denial.into()))?;
        let permit = match need {
            Need::Impossible(why) => return Err(holder(why)),
            Need::Nothing => authenticated.authorize(&request, &[]),
            Need::Scope(requirement) => authenticated.authorize(&request, &[requirement]),
        };
        permit.map_err(|denial| holder(denial.into()))
    }

    /// Revocations that were never read are not old, they are not there yet.
    fn named(&self, denial: Denial) -> Refusal {
        let stale = matches!(denial, Denial::RevocationsStale { .. });
        if stale && self.verifier.revocations().as_of() == Timestamp::default() {
            return Refusal::NotReady;
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
    ) -> Result<Option<DpopProof>, Refusal> {
        let Credential::Dpop { token, proof } = asked.credential else {
            return Ok(None);
        };
        if now >= access.expires_at() {
            return Ok(None);
        }
        // RFC 9449 section 7.1: what is not bound must not pass for bound.
        if !access.bound_to_holder() {
            return Err(Refusal::NotBound);
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
        verified.map(Some).map_err(Refusal::Proof)
    }
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
