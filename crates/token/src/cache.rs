//! What was verified lately: tokens by their text, and sessions by the bytes
//! that all their narrowed tokens start with.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::access::Access;
use crate::packed::PackedText;
use crate::text::{decode, same_start};

/// Verified access tokens by text, and by the bytes of their session.
///
/// Only what verified is put in, and each part is bounded by bytes. A flood of
/// distinct valid tokens passes through the cache's probation part without
/// pushing out what is in use. Revocation and time are not in it: they are
/// checked again on each hit.
///
/// SECURITY: both are found by a hash and then compared, byte for byte, with
/// what was verified. A collision costs a verification and decides nothing.
pub(crate) struct TokenCache {
    /// Drawn at random, so that nobody can choose texts that collide.
    seed: RandomState,
    tokens: Cache<u64, Arc<Access>, ByBytes, RandomState>,
    /// A token of each session, which has its bytes and what they say. It lives
    /// as long as it is among the tokens.
    sessions: Cache<u64, Weak<Access>, ByBytes, RandomState>,
    /// How often a token was looked up for its session.
    touched: AtomicU64,
}

#[derive(Clone)]
struct ByBytes;

/// What the tables take for an entry: the slot, and its share of the index.
const SLOT: usize = 64;
/// The two counts of an `Arc`.
const COUNTS: usize = 16;

impl Weighter<u64, Arc<Access>> for ByBytes {
    fn weight(&self, _: &u64, access: &Arc<Access>) -> u64 {
        (SLOT + COUNTS + size_of::<Access>() + access.heap()) as u64
    }
}

impl Weighter<u64, Weak<Access>> for ByBytes {
    fn weight(&self, _: &u64, _: &Weak<Access>) -> u64 {
        // What is left of a token that was dropped, until this is.
        (SLOT + COUNTS + size_of::<Access>()) as u64
    }
}

/// What a cached token and a session take on average, to size the tables.
const TYPICAL_TOKEN: u64 = 2 * 1024;
const TYPICAL_SESSION: u64 = 320;

impl TokenCache {
    /// A cache of at most `bytes`, an eighth of it for sessions.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            seed: RandomState::default(),
            tokens: bounded(bytes / 8 * 7, TYPICAL_TOKEN),
            sessions: bounded(bytes / 8, TYPICAL_SESSION),
            touched: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, text: &str) -> Option<Arc<Access>> {
        let found = self.tokens.get(&self.hash(text.as_bytes()));
        found.filter(|access| access.text.is(text))
    }

    /// Keeps a token that verified, of this text.
    pub(crate) fn insert(&self, text: &str, mut access: Access) -> Arc<Access> {
        access.text = PackedText::new(text).unwrap_or_default();
        let access = Arc::new(access);
        self.tokens
            .insert(self.hash(text.as_bytes()), Arc::clone(&access));
        access
    }

    /// The same, and from now on it stands for its session.
    pub(crate) fn insert_with_session(&self, text: &str, access: Access) -> Arc<Access> {
        let access = self.insert(text, access);
        let bytes = decode(text);
        if let Some(session) = bytes
            .as_deref()
            .ok()
            .and_then(|b| b.get(..access.session_end))
        {
            self.sessions
                .insert(self.hash(session), Arc::downgrade(&access));
        }
        access
    }

    /// How often a token's text was found, and how often not.
    pub(crate) fn found(&self) -> (u64, u64) {
        let hits = self.tokens.hits();
        let asked = hits.saturating_sub(self.touched.load(Relaxed));
        (asked, self.tokens.misses())
    }

    /// A token of the session that has these bytes, which the token of this
    /// text starts with.
    pub(crate) fn session(&self, session: &[u8], text: &str) -> Option<Arc<Access>> {
        let known = self.sessions.get(&self.hash(session))?.upgrade()?;
        let its_text = known.text.unpack()?;
        let end = session.len();
        if known.session_end != end || !same_start(its_text.expose(), text, end) {
            return None;
        }
        // A session is in use where its narrowed tokens are, and its token must
        // not be pushed out for not being asked for itself.
        let token = self.hash(its_text.expose().as_bytes());
        if self.tokens.contains_key(&token) && self.tokens.get(&token).is_some() {
            self.touched.fetch_add(1, Relaxed);
        }
        Some(known)
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        self.seed.hash_one(bytes)
    }
}

fn bounded<V>(bytes: u64, typical: u64) -> Cache<u64, V, ByBytes, RandomState>
where
    V: Clone,
    ByBytes: Weighter<u64, V>,
{
    let items = usize::try_from(bytes / typical).unwrap_or(usize::MAX);
    Cache::with(
        items.max(16),
        bytes,
        ByBytes,
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tokens, sessions) = (self.tokens.len(), self.sessions.len());
        let used = self.touched.load(Relaxed);
        write!(
            f,
            "TokenCache({tokens} tokens, {sessions} sessions used {used} times)"
        )
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use uuid::Uuid;

    use super::*;
    use crate::Catalog;
    use crate::chain::NewSession;
    use crate::id::{AuthorityId, DeviceId, GrantId, RootKeyId, SessionId};
    use crate::keys::{AttestationKey, KeyRing, KeyState};
    use crate::mint::RootKey;
    use crate::profile::{Grant, Subject};
    use crate::revocation::Revocations;
    use crate::scope::ScopeSet;
    use crate::text::TokenText;
    use crate::time::Timestamp;
    use crate::verify::Verifier;

    /// The text of an access token, its session's bytes, and what was verified of it.
    fn verified(seed: u64) -> (TokenText, Vec<u8>, Access) {
        let mut rng = StdRng::seed_from_u64(seed);
        let id = |n| Uuid::from_u64_pair(seed, n);
        let root = RootKey::generate(RootKeyId::new(1), &mut rng);
        let key = AttestationKey::generate(&mut rng);
        let now = Timestamp::from_unix(1_800_000_000);
        let grant = Grant {
            id: GrantId::from_uuid(id(2)),
            subject: Subject::Device(DeviceId::from_bytes([7; 32])),
            role: "operator".parse().unwrap(),
            scopes: ScopeSet::all(),
            not_after: None,
        };
        let session = NewSession {
            id: SessionId::from_uuid(id(3)),
            audience: "http://a".to_owned(),
            not_after: now.plus(900),
            caveats: Vec::new(),
        };
        let chain = AuthorityId::from_uuid(id(1));
        let chain = root.mint_authority(chain, &ScopeSet::all(), &mut rng);
        let chain = chain.unwrap().append_grant(&grant, &key, &mut rng).unwrap();
        let text = chain.append_session(&session, &key, &mut rng).unwrap();

        let keys = KeyRing::new()
            .with_root(root.id(), root.public().unwrap(), KeyState::Active)
            .with_attestation(key.public().unwrap(), KeyState::Active);
        let revocations = Revocations::new(5);
        revocations.confirm(now);
        let catalog = Arc::new(Catalog::builder().build().unwrap());
        let verifier = Verifier::new(keys, Arc::new(revocations), 0);
        let access = verifier.verify_once(&text, &catalog, now).unwrap();
        let access = Arc::into_inner(access).unwrap();
        let start = decode(text.expose()).unwrap()[..access.session_end].to_vec();
        (text, start, access)
    }

    #[test]
    fn a_token_whose_text_has_the_hash_of_another_is_not_that_one() {
        let cache = TokenCache::new(1 << 20);
        let ((one, _, access), (two, _, _)) = (verified(1), verified(2));
        let known = cache.insert(one.expose(), access);
        assert!(cache.get(one.expose()).is_some());
        let hash = cache.hash(two.expose().as_bytes());
        cache.tokens.insert(hash, known);
        assert!(cache.get(two.expose()).is_none());
    }

    #[test]
    fn a_session_whose_bytes_have_the_hash_of_another_is_not_that_one() {
        let cache = TokenCache::new(1 << 20);
        let ((one, session, access), (two, other, _)) = (verified(1), verified(2));
        let known = cache.insert_with_session(one.expose(), access);
        assert!(cache.session(&session, one.expose()).is_some());
        let (shorter, one_less) = (&session[..400], &session[..session.len() - 1]);
        for (bytes, text) in [(other.as_slice(), &two), (shorter, &one), (one_less, &one)] {
            let weak = Arc::downgrade(&known);
            cache.sessions.insert(cache.hash(bytes), weak);
            assert!(cache.session(bytes, text.expose()).is_none());
        }
    }

    #[test]
    fn a_session_is_known_as_long_as_a_token_of_it_is_kept() {
        let cache = TokenCache::new(0);
        let (text, session, access) = verified(1);
        let known = cache.insert_with_session(text.expose(), access);
        drop(known);
        assert!(cache.session(&session, text.expose()).is_none());
    }
}
