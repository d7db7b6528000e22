//! What was verified lately: tokens by their text, and sessions by the bytes
//! that all their narrowed tokens start with.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use foldhash::fast::RandomState;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use sha2::{Digest, Sha256};

use crate::access::Access;

/// Verified access tokens by text, and verified prefixes `A G+ S` by bytes.
///
/// Only what verified is put in, and each part is bounded by bytes. A flood of
/// distinct valid tokens passes through the cache's probation part without
/// pushing out what is in use. Revocation and time are not in it: they are
/// checked again on each hit.
pub(crate) struct TokenCache {
    tokens: Cache<Box<str>, Arc<Access>, ByBytes, RandomState>,
    /// By their hash, since they are long, and it is asked for only where
    /// signatures are verified anyway.
    prefixes: Cache<PrefixHash, Prefix, ByBytes, RandomState>,
}

/// A session whose signatures fit, under one generation of keys.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    /// The key that what follows the session must be signed with.
    pub(crate) key: VerifyingKey,
    /// The generation of the keys it was verified under.
    pub(crate) generation: u64,
}

/// The SHA-256 of the bytes that a session's tokens start with.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PrefixHash([u8; 32]);

impl PrefixHash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<Access>> for ByBytes {
    fn weight(&self, text: &Box<str>, _: &Arc<Access>) -> u64 {
        // The names inside are bounded by the text that they were read from.
        (2 * text.len() + size_of::<Access>()) as u64
    }
}

impl Weighter<PrefixHash, Prefix> for ByBytes {
    fn weight(&self, hash: &PrefixHash, _: &Prefix) -> u64 {
        (hash.0.len() + size_of::<Prefix>()) as u64
    }
}

/// What a cached token and a prefix take on average, to size the tables.
const TYPICAL_TOKEN: u64 = 3 * 1024;
const TYPICAL_PREFIX: u64 = 256;

impl TokenCache {
    /// A cache of at most `bytes`, an eighth of it for prefixes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            tokens: bounded(bytes / 8 * 7, TYPICAL_TOKEN),
            prefixes: bounded(bytes / 8, TYPICAL_PREFIX),
        }
    }

    pub(crate) fn get(&self, text: &str) -> Option<Arc<Access>> {
        self.tokens.get(text)
    }

    pub(crate) fn insert(&self, text: &str, access: &Arc<Access>) {
        self.tokens.insert(text.into(), Arc::clone(access));
    }

    /// How often a token's text was found, and how often not.
    pub(crate) fn found(&self) -> (u64, u64) {
        (self.tokens.hits(), self.tokens.misses())
    }

    pub(crate) fn prefix(&self, hash: &PrefixHash) -> Option<Prefix> {
        self.prefixes.get(hash)
    }

    pub(crate) fn insert_prefix(&self, hash: PrefixHash, prefix: Prefix) {
        self.prefixes.insert(hash, prefix);
    }
}

fn bounded<K, V>(bytes: u64, typical: u64) -> Cache<K, V, ByBytes, RandomState>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    ByBytes: Weighter<K, V>,
{
    let items = usize::try_from(bytes / typical).unwrap_or(usize::MAX);
    Cache::with(
        items.max(16),
        bytes,
        ByBytes,
        // Seeded at random, so that nobody can choose texts that collide.
        RandomState::default(),
        DefaultLifecycle::default(),
    )
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tokens, prefixes) = (self.tokens.len(), self.prefixes.len());
        let used = self.prefixes.hits();
        write!(
            f,
            "TokenCache({tokens} tokens, {prefixes} prefixes used {used} times)"
        )
    }
}
