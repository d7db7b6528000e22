//! The verifier: from a text to a permit, by way of what was verified lately.
//!
//! Each step is a type, and only the [`Verifier`] makes a permit. What allows
//! something takes a [`Permit`], so that it cannot be reached without a decision.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::access::{Access, Authenticated, Permit, Signers};
use crate::cache::TokenCache;
use crate::catalog::{Catalog, Requirement};
use crate::denial::Denial;
use crate::fold::{Folded, Request};
use crate::keys::KeyRing;
use crate::narrowed::{Added, Frame};
use crate::packed::PackedText;
use crate::profile::Profile;
use crate::revocation::Revocations;
use crate::signature;
use crate::text::{self, MAX_TEXT, TokenText};
use crate::time::Timestamp;
use crate::untrusted::Untrusted;

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
                    self.cache
                        .insert_with_session(text, access.recompiled(catalog))
                }
            }
            Some(_) | None => {
                let bytes = text::decode(text)?;
                if let Some(access) = self.read_narrowed(text, &bytes, catalog, &trust)? {
                    self.cache.insert(text, access)
                } else {
                    let access = Self::read_whole(&bytes, catalog, &trust)?;
                    self.cache.insert_with_session(text, access)
                }
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
        let trust = self.trust.load();
        let bytes = text.decode()?;
        let access = match self.read_narrowed(text.expose(), &bytes, catalog, &trust)? {
            Some(access) => access,
            None => Self::read_whole(&bytes, catalog, &trust)?,
        };
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

    /// Reads a token whose session is known: what its holder added, and nothing
    /// else. `None` where anything but a signature is not as it should be.
    fn read_narrowed(
        &self,
        text: &str,
        bytes: &[u8],
        catalog: &Arc<Catalog>,
        trust: &Trust,
    ) -> Result<Option<Access>, Denial> {
        let Some(frame) = Frame::of(bytes) else {
            return Ok(None);
        };
        for tail in frame.tails() {
            let known = self.cache.session(tail.before, text);
            // SECURITY: what other keys signed is looked at again from its start.
            let known = known.filter(|known| known.generation == trust.generation);
            if let Some(known) = known {
                let Some(added) = Added::read(&frame, &tail) else {
                    return Ok(None);
                };
                added.verify(&trust.keys)?;
                return Ok(Some(known.narrowed(added.holder, catalog)));
            }
        }
        Ok(None)
    }

    fn read_whole(bytes: &[u8], catalog: &Arc<Catalog>, trust: &Trust) -> Result<Access, Denial> {
        let Untrusted { container, profile } = Untrusted::of_known_keys(bytes, &trust.keys)?;
        let chain = match profile {
            // SECURITY: the root token is refused by its form alone. Nothing
            // here ever says whether one is genuine.
            Profile::Root(_) => return Err(Denial::RootTokenNotAccepted),
            Profile::Chain(chain) => chain,
        };
        signature::verify(&container, &trust.keys)?;
        let Some(session) = chain.session.clone() else {
            return Err(Denial::GrantNotAccepted);
        };
        if session.grant != chain.leaf().id {
            return Err(Denial::NotActivated);
        }
        // Block 0, the grants and the session.
        let session_end = container.end_of(chain.depth() + 2);
        let session_end = session_end.ok_or(Denial::BadSignature { block: 0 })?;
        let signers = Signers::of(&container, &trust.keys);
        Ok(Access {
            signers: signers.ok_or(Denial::BadSignature { block: 0 })?,
            folded: Folded::new(&chain, catalog),
            catalog: Arc::clone(catalog),
            generation: trust.generation,
            chain,
            session,
            text: PackedText::default(),
            session_end,
        })
    }
}
