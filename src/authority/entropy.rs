//! Randomness as a parameter.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use rand::rngs::{OsRng, StdRng};
use rand::{RngCore, SeedableRng};

/// Where random bytes come from: the operating system, or a seed in tests.
#[derive(Default)]
pub struct Entropy(Option<Mutex<StdRng>>);

impl Entropy {
    /// The operating system's randomness.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A sequence that is the same for the same seed. For tests.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A generator for one operation.
    pub fn rng(&self) -> StdRng {
        let mut seed = <StdRng as SeedableRng>::Seed::default();
        match &self.0 {
            None => OsRng.fill_bytes(&mut seed),
            Some(shared) => shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .fill_bytes(&mut seed),
        }
        StdRng::from_seed(seed)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Seeded" } else { "System" })
    }
}
