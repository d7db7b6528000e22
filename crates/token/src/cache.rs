//! The tokens that were verified lately, by their exact text.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::verify::Access;

/// Verified access tokens by text, bounded by bytes.
///
/// Only what verified is put in, and the cache resists scans: a flood of
/// distinct valid tokens passes through its small probation part without
/// pushing out what is in use. Revocation and time are not in it: they are
/// checked again on each hit.
pub(crate) struct TokenCache(Cache<Box<str>, Arc<Access>, ByBytes>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<str>, Arc<Access>> for ByBytes {
    fn weight(&self, text: &Box<str>, _: &Arc<Access>) -> u64 {
        // The names inside are bounded by the text that they were read from.
        (2 * text.len() + size_of::<Access>()) as u64
    }
}

/// What a cached token takes on average, to size the table.
const TYPICAL_WEIGHT: u64 = 3 * 1024;

impl TokenCache {
    pub(crate) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / TYPICAL_WEIGHT).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items.max(16), bytes, ByBytes))
    }

    pub(crate) fn get(&self, text: &str) -> Option<Arc<Access>> {
        self.0.get(text)
    }

    pub(crate) fn insert(&self, text: &str, access: &Arc<Access>) {
        self.0.insert(text.into(), Arc::clone(access));
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenCache({} tokens)", self.0.len())
    }
}
