//! The native decision: all caveats of a chain folded into one small record.
//!
//! It decides exactly what the reference Datalog decides (the oracle test holds
//! the two against each other); it is compiled once for a token and a catalog.

use std::collections::BTreeSet;

use crate::bits::ScopeBits;
use crate::catalog::{Catalog, Requirement};
use crate::caveat::{Caveat, PathPrefix};
use crate::denial::Denial;
use crate::heap;
use crate::id::DeviceId;
use crate::profile::{ChainProfile, Session};
use crate::scope::ScopeSet;
use crate::time::Timestamp;

/// The method under which a WebSocket upgrade is stated, whatever is on the wire:
/// it opens a channel that can write, which a `GET` does not.
pub const WEBSOCKET: &str = "WEBSOCKET";

/// What is stated about a request: one fact of each kind at most.
///
/// A fact that is not stated fails every caveat on it. Proxied HTTP states
/// `method` and `path`; hardtack's own API `operation` too; a WebSocket frame
/// states `operation` only.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The present time.
    pub now: Timestamp,
    /// The origin that this verifier is.
    pub audience: &'a str,
    /// The device whose key was proven with this very request.
    pub holder: Option<DeviceId>,
    /// The HTTP method; [`WEBSOCKET`] for an upgrade.
    pub method: Option<&'a str>,
    /// The canonical path, without the query.
    pub path: Option<&'a str>,
    /// The name of the RPC method.
    pub operation: Option<&'a str>,
}

/// A token compiled against one catalog.
#[derive(Debug)]
pub(crate) struct Folded {
    /// What every block gives: the `AND` of their closures.
    bits: ScopeBits,
    /// Whether every block by itself gives some scope.
    each_gives_some: bool,
    not_after: Timestamp,
    /// Whether the holder's audience caveats leave the session's audience.
    audience: bool,
    holder: Limit<DeviceId>,
    /// Few tokens have any.
    on_request: Option<Box<OnRequest>>,
}

/// The caveats on what is asked for.
#[derive(Debug, Default)]
struct OnRequest {
    methods: Option<BTreeSet<String>>,
    paths: Vec<PathPrefix>,
    operations: Option<BTreeSet<String>>,
}

/// What several caveats on one value leave of it.
#[derive(Debug)]
enum Limit<T> {
    Any,
    Only(T),
    /// The caveats contradict each other.
    Nothing,
}

impl Folded {
    pub(crate) fn new(chain: &ChainProfile, catalog: &Catalog) -> Self {
        let gives_some = |set: &ScopeSet| !catalog.closure(set).is_empty();
        let mut folded = Self {
            bits: chain.effective(catalog),
            each_gives_some: chain.scope_sets().all(gives_some),
            not_after: chain.expires_at().unwrap_or(Timestamp::MAX),
            audience: true,
            holder: Limit::Any,
            on_request: None,
        };
        for caveat in chain.own_caveats() {
            folded.narrow(caveat, chain.session.as_deref());
        }
        if let Some(limits) = &mut folded.on_request {
            limits.paths.shrink_to_fit();
        }
        folded
    }

    fn narrow(&mut self, caveat: &Caveat, session: Option<&Session>) {
        match caveat {
            // Folded above, from every block.
            Caveat::Scopes(_) | Caveat::NotAfter(_) => {}
            Caveat::Audience(origins) => {
                self.audience &= session.is_some_and(|s| origins.contains(&s.audience));
            }
            Caveat::Holder(device) => {
                self.holder = match &self.holder {
                    Limit::Any => Limit::Only(*device),
                    Limit::Only(before) if before == device => Limit::Only(*device),
                    Limit::Only(_) | Limit::Nothing => Limit::Nothing,
                }
            }
            Caveat::Method(methods) => intersect(&mut self.on_request().methods, methods),
            Caveat::Path(prefix) => self.on_request().paths.push(prefix.clone()),
            Caveat::Operation(names) => intersect(&mut self.on_request().operations, names),
        }
    }

    fn on_request(&mut self) -> &mut OnRequest {
        self.on_request.get_or_insert_default()
    }

    /// Time, holder and audience: whether this is a live credential for this
    /// verifier at all.
    pub(crate) fn authenticate(
        &self,
        request: &Request<'_>,
        session: &Session,
    ) -> Result<(), Denial> {
        self.check_live(request.now, request.holder)?;
        if self.audience && session.audience == request.audience {
            return Ok(());
        }
        Err(Denial::WrongAudience {
            stated: request.audience.to_owned(),
        })
    }

    /// Time and holder alone.
    pub(crate) fn check_live(
        &self,
        now: Timestamp,
        holder: Option<DeviceId>,
    ) -> Result<(), Denial> {
        if now >= self.not_after {
            return Err(Denial::Expired(self.not_after));
        }
        match (&self.holder, holder) {
            (Limit::Any, _) => Ok(()),
            (Limit::Only(bound), Some(proven)) if *bound == proven => Ok(()),
            (Limit::Only(_) | Limit::Nothing, _) => Err(Denial::WrongHolder),
        }
    }

    /// Method, path, operation and scopes: whether it allows this request.
    pub(crate) fn clear(
        &self,
        request: &Request<'_>,
        required: &[Requirement],
        catalog: &Catalog,
        chain: &ChainProfile,
    ) -> Result<(), Denial> {
        if let Some(limits) = &self.on_request {
            limits.clear(request)?;
        }
        let met = |r: &Requirement| catalog.meets(&self.bits, *r);
        if self.each_gives_some && required.iter().all(met) {
            return Ok(());
        }
        Err(Denial::InsufficientScope {
            required: required.iter().map(|r| catalog.scope_of(*r)).collect(),
            held: chain.scopes_in(catalog),
        })
    }

    pub(crate) const fn bits(&self) -> &ScopeBits {
        &self.bits
    }

    pub(crate) const fn bound_to_holder(&self) -> bool {
        !matches!(self.holder, Limit::Any)
    }

    /// The bytes that it takes beside its own size.
    pub(crate) fn heap(&self) -> usize {
        let limits = self.on_request.iter().map(|limits| {
            let texts = limits.methods.iter().chain(&limits.operations);
            let paths = limits.paths.iter().map(heap::of_path).sum::<usize>();
            size_of::<OnRequest>() + texts.map(heap::of_texts).sum::<usize>() + paths
        });
        self.bits.heap() + limits.sum::<usize>()
    }
}

impl OnRequest {
    fn clear(&self, request: &Request<'_>) -> Result<(), Denial> {
        if !admits(self.methods.as_ref(), request.method) {
            return Err(Denial::CaveatMethod);
        }
        let below = |path: &str| self.paths.iter().all(|prefix| prefix.admits(path));
        if !self.paths.is_empty() && !request.path.is_some_and(below) {
            return Err(Denial::CaveatPath);
        }
        if !admits(self.operations.as_ref(), request.operation) {
            return Err(Denial::CaveatOperation);
        }
        Ok(())
    }
}

fn intersect(limit: &mut Option<BTreeSet<String>>, set: &BTreeSet<String>) {
    match limit {
        None => *limit = Some(set.clone()),
        Some(kept) => kept.retain(|value| set.contains(value)),
    }
}

fn admits(limit: Option<&BTreeSet<String>>, stated: Option<&str>) -> bool {
    match (limit, stated) {
        (None, _) => true,
        (Some(set), Some(value)) => set.contains(value),
        (Some(_), None) => false,
    }
}
