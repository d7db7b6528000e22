//! A verified access token, and what becomes of it with a request:
//! [`Access`] → [`Authenticated`] → [`Permit`].

use std::sync::Arc;

use crate::bits::ScopeBits;
use crate::catalog::{Catalog, Requirement};
use crate::caveat::Caveat;
use crate::container::Container;
use crate::denial::Denial;
use crate::fold::{Folded, Request};
use crate::heap;
use crate::id::{DeviceId, GrantId, Role, RootKeyId, ServiceName};
use crate::keys::KeyRing;
use crate::packed::PackedText;
use crate::profile::{ChainProfile, Session, Subject};
use crate::scope::ScopeSet;
use crate::time::Timestamp;

/// An access token that is verified, activated and compiled against a catalog.
#[derive(Debug)]
pub struct Access {
    pub(crate) chain: Box<ChainProfile>,
    /// The chain's own.
    pub(crate) session: Arc<Session>,
    pub(crate) folded: Folded,
    pub(crate) catalog: Arc<Catalog>,
    /// The generation of the keys it was verified under.
    pub(crate) generation: u64,
    pub(crate) signers: Signers,
    /// Its text, where it is kept for being seen again; else nothing.
    pub(crate) text: PackedText,
    /// Where its session ends in its bytes.
    pub(crate) session_end: usize,
}

/// The public keys that the signatures of a token were checked with.
#[derive(Clone, Debug)]
pub(crate) struct Signers {
    root: (RootKeyId, [u8; 32]),
    attestation: Box<[[u8; 32]]>,
}

/// A live credential for this verifier; what it allows is not decided yet.
#[derive(Clone, Debug)]
pub struct Authenticated(Arc<Access>);

/// The right to do one request. Only a positive decision makes one.
#[derive(Clone, Debug)]
pub struct Permit(Arc<Access>);

impl Signers {
    /// The keys of a container that was verified with `keys`.
    pub(crate) fn of(container: &Container, keys: &KeyRing) -> Option<Self> {
        let id = container.root_key_id;
        let external = container.blocks.iter().filter_map(|b| b.external.as_ref());
        let mut attestation: Vec<[u8; 32]> = external.map(|external| external.key).collect();
        // Mostly it is one and the same.
        attestation.dedup();
        Some(Self {
            root: (id, *keys.root(id)?.as_bytes()),
            attestation: attestation.into(),
        })
    }

    pub(crate) fn are_trusted(&self, keys: &KeyRing) -> bool {
        let (id, root) = &self.root;
        keys.root(*id).is_some_and(|key| key.as_bytes() == root)
            && self
                .attestation
                .iter()
                .all(|key| keys.attestation(key).is_some())
    }
}

impl Authenticated {
    /// Method, path, operation and scopes.
    pub fn authorize(
        self,
        request: &Request<'_>,
        required: &[Requirement],
    ) -> Result<Permit, Denial> {
        let decided = self.authorize_or_return(request, required);
        decided.map_err(|(denial, _)| denial)
    }

    /// The same, with the token given back where it is refused.
    pub(crate) fn authorize_or_return(
        self,
        request: &Request<'_>,
        required: &[Requirement],
    ) -> Result<Permit, (Denial, Arc<Access>)> {
        let Access {
            folded,
            catalog,
            chain,
            ..
        } = &*self.0;
        match folded.clear(request, required, catalog, chain) {
            Ok(()) => Ok(Permit(self.0)),
            Err(denial) => Err((denial, self.0)),
        }
    }

    /// The token.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.0
    }
}

impl Permit {
    /// The token that gave it.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.0
    }
}

impl Access {
    /// Time, holder and audience.
    pub fn authenticate(self: Arc<Self>, request: &Request<'_>) -> Result<Authenticated, Denial> {
        self.folded.authenticate(request, &self.session)?;
        Ok(Authenticated(self))
    }

    /// Time and holder, for an authority that narrows a token of any audience.
    /// Like [`Access::authenticate`] it looks at no revocation: what is kept
    /// across time goes through [`crate::Verifier::verify`] again.
    pub fn check_live(&self, now: Timestamp, holder: Option<DeviceId>) -> Result<(), Denial> {
        self.folded.check_live(now, holder)
    }

    /// The chain of the token.
    #[must_use]
    pub fn chain(&self) -> &ChainProfile {
        &self.chain
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The grant it speaks for.
    #[must_use]
    pub fn grant_id(&self) -> GrantId {
        self.chain.leaf().id
    }

    /// The role of that grant.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.chain.leaf().role
    }

    /// The device it speaks for, if it is a device's.
    #[must_use]
    pub fn device(&self) -> Option<DeviceId> {
        match &self.chain.leaf().subject {
            Subject::Device(id) => Some(*id),
            Subject::Service(_) => None,
        }
    }

    /// The service it speaks for, if it is a service's.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceName> {
        match &self.chain.leaf().subject {
            Subject::Device(_) => None,
            Subject::Service(name) => Some(name),
        }
    }

    /// The earliest end of any of its blocks.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.chain.expires_at().unwrap_or(self.session.not_after)
    }

    /// Whether it can be used only with proof of a key.
    #[must_use]
    pub const fn bound_to_holder(&self) -> bool {
        self.folded.bound_to_holder()
    }

    /// What it gives, as bits of its catalog.
    #[must_use]
    pub const fn scope_bits(&self) -> &ScopeBits {
        self.folded.bits()
    }

    /// What it gives by name, implications expanded.
    #[must_use]
    pub fn effective_scopes(&self) -> ScopeSet {
        self.catalog.names(self.folded.bits())
    }

    /// [`Self::effective_scopes`] as text.
    #[must_use]
    pub fn effective_scopes_text(&self) -> String {
        self.catalog.text(self.folded.bits())
    }

    /// What it gives in the token's own words.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.chain.scopes_in(&self.catalog)
    }

    /// The same token under another catalog; its signatures need no second look.
    pub(crate) fn recompiled(&self, catalog: &Arc<Catalog>) -> Self {
        Self {
            folded: Folded::new(&self.chain, catalog),
            catalog: Arc::clone(catalog),
            generation: self.generation,
            signers: self.signers.clone(),
            chain: self.chain.clone(),
            session: Arc::clone(&self.session),
            text: self.text.clone(),
            session_end: self.session_end,
        }
    }

    /// Another token of its session, which a holder narrowed by these blocks.
    pub(crate) fn narrowed(&self, holder: Vec<Vec<Caveat>>, catalog: &Arc<Catalog>) -> Self {
        let chain = Box::new(ChainProfile {
            holder,
            ..(*self.chain).clone()
        });
        Self {
            folded: Folded::new(&chain, catalog),
            catalog: Arc::clone(catalog),
            generation: self.generation,
            signers: self.signers.clone(),
            chain,
            session: Arc::clone(&self.session),
            text: PackedText::default(),
            session_end: self.session_end,
        }
    }

    /// The bytes that it takes beside its own size.
    pub(crate) fn heap(&self) -> usize {
        let signers = size_of_val::<[[u8; 32]]>(&self.signers.attestation);
        heap::of_chain(&self.chain) + self.folded.heap() + signers + self.text.heap()
    }
}
