//! From a text to a permit: `TokenText` → [`Untrusted`] → [`Verified`] → [`Permit`].
//!
//! Each step is a type, and only the [`Verifier`] makes a permit. What allows
//! something takes a `Permit`, so that it cannot be reached without a decision.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::cache::{Prefix, PrefixHash, TokenCache};
use crate::catalog::{Catalog, Requirement, ScopeBits};
use crate::container::Container;
use crate::denial::Denial;
use crate::fold::{Folded, Request};
use crate::id::{DeviceId, GrantId, Role, RootKeyId, ServiceName};
use crate::keys::KeyRing;
use crate::profile::{self, ChainProfile, Profile, Session, Subject};
use crate::revocation::Revocations;
use crate::scope::ScopeSet;
use crate::signature;
use crate::text::{MAX_TEXT, TokenText};
use crate::time::Timestamp;

/// A token that is of the profile and names known keys. Nothing it says is trusted.
pub struct Untrusted {
    container: Container,
    profile: Profile,
}

/// A token whose signatures fit.
#[derive(Debug)]
pub struct Verified {
    profile: Profile,
    root_key_id: RootKeyId,
}

/// An access token that is verified, activated and compiled against a catalog.
#[derive(Debug)]
pub struct Access {
    chain: Box<ChainProfile>,
    session: Session,
    folded: Folded,
    catalog: Arc<Catalog>,
    /// The generation of the keys it was verified under.
    generation: u64,
    signers: Signers,
}

/// The public keys that the signatures of a token were checked with.
#[derive(Clone, Debug)]
struct Signers {
    root: (RootKeyId, [u8; 32]),
    attestation: Box<[[u8; 32]]>,
}

/// A live credential for this verifier; what it allows is not decided yet.
#[derive(Clone, Debug)]
pub struct Authenticated(Arc<Access>);

/// The right to do one request. Only a positive decision makes one.
#[derive(Clone, Debug)]
pub struct Permit(Arc<Access>);

/// Decides on tokens by the keys and the revocations it is fed.
///
/// The catalog comes with each question, since it is part of the policy that
/// the caller decides by: one decision never mixes two policies.
#[derive(Debug)]
pub struct Verifier {
    trust: ArcSwap<Trust>,
    revocations: Arc<Revocations>,
    cache: TokenCache,
}

#[derive(Debug)]
struct Trust {
    keys: Arc<KeyRing>,
    /// Raised with each change of keys: what was verified under other keys is not used.
    generation: u64,
}

impl Untrusted {
    /// Decodes a text and walks its blocks. Costs microseconds, whatever the text.
    pub fn read(text: &TokenText, keys: &KeyRing) -> Result<Self, Denial> {
        Self::of_known_keys(&text.decode()?, keys)
    }

    /// The same without asking whether the keys are known, to show what a token says.
    pub fn inspect(text: &TokenText) -> Result<Self, Denial> {
        Self::walk(&text.decode()?, |_| Ok(()))
    }

    fn of_known_keys(bytes: &[u8], keys: &KeyRing) -> Result<Self, Denial> {
        Self::walk(bytes, |container| signature::known_keys(container, keys))
    }

    fn walk(
        bytes: &[u8],
        check_keys: impl FnOnce(&Container) -> Result<(), Denial>,
    ) -> Result<Self, Denial> {
        let container = Container::decode(bytes)?;
        check_keys(&container)?;
        if !container.canonical {
            return Err(Denial::Malformed("its container is not canonical"));
        }
        let profile = profile::walk(&container)?;
        if let Profile::Chain(chain) = &profile
            && chain.session.is_none()
            && !container.proof.is_sealed()
        {
            let why = "a chain without a session must be sealed";
            return Err(Denial::outside(container.blocks.len() - 1, why));
        }
        Ok(Self { container, profile })
    }

    /// Checks the signatures.
    pub fn verify(self, keys: &KeyRing) -> Result<Verified, Denial> {
        signature::verify(&self.container, keys)?;
        Ok(Verified {
            profile: self.profile,
            root_key_id: self.container.root_key_id,
        })
    }

    /// The root key that it says signed it.
    #[must_use]
    pub const fn root_key_id(&self) -> RootKeyId {
        self.container.root_key_id
    }

    /// What the token claims.
    #[must_use]
    pub const fn claims(&self) -> &Profile {
        &self.profile
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Untrusted").field(&self.profile).finish()
    }
}

impl Verified {
    /// What the token says.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The root key that signed it.
    #[must_use]
    pub const fn root_key_id(&self) -> RootKeyId {
        self.root_key_id
    }
}

impl Verifier {
    /// A verifier that trusts `keys`. It denies until `revocations` have been
    /// read once. At most `cache_bytes` go to tokens that were verified lately.
    #[must_use]
    pub fn new(keys: KeyRing, revocations: Arc<Revocations>, cache_bytes: u64) -> Self {
        Self {
            trust: ArcSwap::from_pointee(Trust {
                keys: Arc::new(keys),
                generation: 0,
            }),
            revocations,
            cache: TokenCache::new(cache_bytes),
        }
    }

    /// Puts other keys in force for the next decision.
    pub fn set_keys(&self, keys: KeyRing) {
        let keys = Arc::new(keys);
        self.trust.rcu(|old| Trust {
            keys: Arc::clone(&keys),
            generation: old.generation + 1,
        });
    }

    /// The keys in force.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.trust.load().keys)
    }

    /// How often a token had been verified before, and how often not.
    #[must_use]
    pub fn cache_lookups(&self) -> (u64, u64) {
        self.cache.found()
    }

    /// The revocations it decides by.
    #[must_use]
    pub const fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Takes an access token as far as it goes without a request: decoded, of
    /// the profile, signed, activated and not revoked.
    pub fn verify(
        &self,
        text: &str,
        catalog: &Arc<Catalog>,
        now: Timestamp,
    ) -> Result<Arc<Access>, Denial> {
        // Before the cache is asked, which hashes the whole text.
        if text.len() > MAX_TEXT {
            return Err(Denial::TOO_LONG);
        }
        let trust = self.trust.load();
        let access = match self.cache.get(text) {
            Some(access) if access.generation == trust.generation => {
                if access.catalog.generation() == catalog.generation() {
                    access
                } else {
                    self.keep(text, access.recompiled(catalog))
                }
            }
            Some(_) | None => {
                let token = TokenText::new(text)?;
                let access = self.read(&token, catalog, &trust, true)?;
                self.keep(text, access)
            }
        };
        self.revocations.check(&access.chain, now)?;
        Ok(access)
    }

    /// Whether what was allowed to a token earlier is still allowed to it: the
    /// keys that it was verified by are still trusted, nothing of its lineage is
    /// revoked, its grant is not retired, its time is not over, and this
    /// verifier is able to know. For what lasts longer than a request, such as
    /// a WebSocket; it needs no text and costs well under a microsecond.
    ///
    /// Proof of its key, the audience, scopes and other caveats were matters of
    /// the request that was decided on, and are not asked again.
    pub fn still_live(&self, access: &Access, now: Timestamp) -> Result<(), Denial> {
        let trust = self.trust.load();
        if access.generation != trust.generation && !access.signers.are_trusted(&trust.keys) {
            let why = "the key that this token was verified by";
            return Err(Denial::UnknownKey(why.to_owned()));
        }
        self.revocations.check(&access.chain, now)?;
        let end = access.expires_at();
        if now >= end {
            return Err(Denial::Expired(end));
        }
        Ok(())
    }

    /// A number that grows whenever keys or revocations change. As long as it
    /// stays the same, [`Verifier::still_live`] answers differently only because
    /// time passes: at [`Access::expires_at`], and when [`Revocations::is_stale`].
    #[must_use]
    pub fn changes(&self) -> u64 {
        // Each of the two only grows, so that no change of one hides the other's.
        let generation = self.trust.load().generation;
        generation.wrapping_add(self.revocations.changes())
    }

    /// [`Verifier::verify`], then time, holder and audience.
    pub fn authenticate(
        &self,
        text: &str,
        catalog: &Arc<Catalog>,
        request: &Request<'_>,
    ) -> Result<Authenticated, Denial> {
        self.verify(text, catalog, request.now)?
            .authenticate(request)
    }

    /// [`Verifier::verify`] for a token that will not be seen again: it takes
    /// no room among those that were verified lately.
    pub fn verify_once(
        &self,
        text: &TokenText,
        catalog: &Arc<Catalog>,
        now: Timestamp,
    ) -> Result<Arc<Access>, Denial> {
        let access = self.read(text, catalog, &self.trust.load(), false)?;
        self.revocations.check(&access.chain, now)?;
        Ok(Arc::new(access))
    }

    /// The whole decision. With no required scope, every block must still give some.
    pub fn authorize(
        &self,
        text: &str,
        catalog: &Arc<Catalog>,
        request: &Request<'_>,
        required: &[Requirement],
    ) -> Result<Permit, Denial> {
        self.authenticate(text, catalog, request)?
            .authorize(request, required)
    }

    /// Reads a token that is not known. Its session may be: then only what its
    /// holder added is verified. `keep` says whether the session will be seen again.
    fn read(
        &self,
        token: &TokenText,
        catalog: &Arc<Catalog>,
        trust: &Trust,
        keep: bool,
    ) -> Result<Access, Denial> {
        let bytes = token.decode()?;
        let Untrusted { container, profile } = Untrusted::of_known_keys(&bytes, &trust.keys)?;
        let chain = match profile {
            // SECURITY: the root token is refused by its form alone. Nothing
            // here ever says whether one is genuine.
            Profile::Root(_) => return Err(Denial::RootTokenNotAccepted),
            Profile::Chain(chain) => chain,
        };
        let Some(session) = chain.session.clone() else {
            signature::verify(&container, &trust.keys)?;
            return Err(Denial::GrantNotAccepted);
        };
        // Block 0, the grants and the session.
        let count = chain.depth() + 2;
        let prefix = container.prefix(&bytes, count).map(PrefixHash::of);
        let known = prefix.as_ref().and_then(|hash| self.cache.prefix(hash));
        let known = known.filter(|known| known.generation == trust.generation);
        let key = match known {
            Some(known) => known.key,
            None => signature::verify_prefix(&container, &trust.keys, count)?,
        };
        signature::verify_rest(&container, &trust.keys, count, key)?;
        if let (Some(prefix), None, true) = (prefix, known, keep) {
            let generation = trust.generation;
            self.cache.insert_prefix(prefix, Prefix { key, generation });
        }
        if session.grant != chain.leaf().id {
            return Err(Denial::NotActivated);
        }
        let signers = Signers::of(&container, &trust.keys);
        Ok(Access {
            signers: signers.ok_or(Denial::BadSignature { block: 0 })?,
            folded: Folded::new(&chain, catalog),
            catalog: Arc::clone(catalog),
            generation: trust.generation,
            chain,
            session,
        })
    }

    fn keep(&self, text: &str, access: Access) -> Arc<Access> {
        let access = Arc::new(access);
        self.cache.insert(text, &access);
        access
    }
}

impl Signers {
    /// The keys of a container that was verified with `keys`.
    fn of(container: &Container, keys: &KeyRing) -> Option<Self> {
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

    fn are_trusted(&self, keys: &KeyRing) -> bool {
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
        self.folded.authenticate(request)?;
        Ok(Authenticated(self))
    }

    /// Time and holder, for an authority that narrows a token of any audience.
    /// Like [`Access::authenticate`] it looks at no revocation: what is kept
    /// across time goes through [`Verifier::verify`] again.
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
    pub const fn session(&self) -> &Session {
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

    /// What it gives in the token's own words.
    #[must_use]
    pub fn scopes(&self) -> ScopeSet {
        self.chain.scopes_in(&self.catalog)
    }

    /// The same token under another catalog; its signatures need no second look.
    fn recompiled(&self, catalog: &Arc<Catalog>) -> Self {
        Self {
            folded: Folded::new(&self.chain, catalog),
            catalog: Arc::clone(catalog),
            generation: self.generation,
            signers: self.signers.clone(),
            chain: self.chain.clone(),
            session: self.session.clone(),
        }
    }
}
