//! The one decision, for every door: canonical request in, permit or refusal out.
//!
//! The policy says what a request needs; the [`Guard`] says what its credential
//! gives. It does no I/O and waits for nothing. What it is told has been read
//! by the door: one method, one canonical path, one credential.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hardtack_token::dpop::ReplayMemory;
use hardtack_token::{
    Access, Asked, Catalog, Clock, Guard, Origin, Permit, Rejected, Requirement, Verifier,
};

use crate::domain::policy::{Policy, Rule};
use crate::gateway::refusal::{Refusal, Refused};
use crate::web::metrics::{Metrics, Stopwatch};

/// Who a request is allowed to.
#[derive(Debug)]
pub(crate) enum Allowed {
    /// Everybody: no credential was looked at.
    Everybody,
    /// The holder of a token.
    Holder(Permit),
}

/// All that a decision depends on.
#[derive(Debug)]
pub(crate) struct Decider {
    guard: Guard,
    policy: Arc<ArcSwap<Policy>>,
    metrics: Arc<Metrics>,
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

impl Decider {
    pub(crate) const fn new(
        origin: Origin,
        verifier: Arc<Verifier>,
        policy: Arc<ArcSwap<Policy>>,
        clock: Arc<dyn Clock>,
        proofs: Arc<ReplayMemory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            guard: Guard::new(origin, verifier, clock, proofs),
            policy,
            metrics,
        }
    }

    pub(crate) const fn origin(&self) -> &Origin {
        self.guard.origin()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.guard.clock()
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Decides by the policy in force.
    pub(crate) fn decide(&self, asked: &Asked<'_>) -> Result<Allowed, Box<Refused>> {
        let started = Stopwatch::start();
        // INVARIANT: one snapshot for route and catalog, so that no decision
        // mixes two policies.
        let policy = self.policy.load();
        let (rule, route) = policy.matched(asked.method, asked.path);
        let decided = self.by_rule(asked, rule, policy.catalog());
        let (decision, code) = match &decided {
            Ok(Allowed::Everybody) => ("allow", "public"),
            Ok(Allowed::Holder(_)) => ("allow", "ok"),
            Err(refused) => ("deny", refused.why.code()),
        };
        let took = started.took();
        self.metrics.decided(decision, code, route, took);
        decided
    }

    fn by_rule(
        &self,
        asked: &Asked<'_>,
        rule: Rule,
        catalog: &Arc<Catalog>,
    ) -> Result<Allowed, Box<Refused>> {
        let need = match rule {
            Rule::Public => return Ok(Allowed::Everybody),
            Rule::Requires(requirement) => Need::Scope(requirement),
            Rule::Denied => Need::Impossible(Refusal::DeniedByPolicy),
            Rule::NoRoute => Need::Impossible(Refusal::NoRoute),
        };
        let permit = self.permit(asked, need, catalog)?;
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
        let refused = |rejected: Rejected| {
            Box::new(match &rejected.access {
                Some(access) => Refused::holder(rejected.why, access, catalog),
                None => Refused::unknown(rejected.why.into()),
            })
        };
        let admitted = self.guard.admit(asked, catalog).map_err(refused)?;
        let permit = match need {
            Need::Impossible(why) => {
                return Err(Refused::holder(why, admitted.access(), catalog).into());
            }
            Need::Nothing => admitted.authorize(&[]),
            Need::Scope(requirement) => admitted.authorize(&[requirement]),
        };
        permit.map_err(refused)
    }
}
