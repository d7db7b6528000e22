//! Scopes as bits, so that a decision is a few words of `AND`.

/// A set of declared scopes, and perhaps `*`, as bits of one catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeBits(Box<[u64]>);

impl ScopeBits {
    pub(crate) fn none(bit_count: usize) -> Self {
        Self(vec![0; bit_count.div_ceil(64)].into_boxed_slice())
    }

    pub(crate) fn full(bit_count: usize) -> Self {
        let mut bits = Self::none(bit_count);
        (0..bit_count).for_each(|i| bits.set(i));
        bits
    }

    /// Whether every scope of `other` is in this set too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| b & !a == 0)
    }

    /// Whether there is no scope at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn intersect(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= b;
        }
    }

    pub(crate) fn union(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The bytes that it takes beside its own size.
    pub(crate) fn heap(&self) -> usize {
        size_of_val::<[u64]>(&self.0)
    }

    pub(crate) fn has(&self, bit: usize) -> bool {
        self.0
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    pub(crate) fn set(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }
}
