//! The short code that a person reads from one screen and types on another.

use std::fmt;

use rand::Rng;

/// Letters that are not taken for one another, and make no words (RFC 8628 section 6.1).
pub(super) const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// A code such as `WDJB-MJHT`: 34 bits, case and dashes do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// Makes a new code.
    pub fn generate(rng: &mut impl Rng) -> Self {
        let letter = |_| char::from(*LETTERS.get(rng.gen_range(0..20)).unwrap_or(&b'B'));
        Self((0..LENGTH).map(letter).collect())
    }

    /// Reads a code as a person may type it; `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        letters(text, LENGTH).map(Self)
    }

    /// The letters without a dash, as they are stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The letters of a code as a person may type it, if there are so many.
pub(super) fn letters(text: &str, length: usize) -> Option<String> {
    let kept: String = text
        .chars()
        .filter(|c| !matches!(c, '-' | ' '))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let valid = kept.len() == length && kept.bytes().all(|b| LETTERS.contains(&b));
    valid.then_some(kept)
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = self.0.split_at_checked(LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{head}-{tail}")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_code_reads_however_it_is_typed() {
        let code = UserCode::generate(&mut rand::rngs::StdRng::seed_from_u64(1));
        let shown = code.to_string();
        assert_eq!(shown.len(), 9);
        for typed in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            shown.replace('-', " "),
        ] {
            assert_eq!(UserCode::parse(&typed), Some(code.clone()));
        }
        assert_eq!(UserCode::parse("AEIO-UUUU"), None);
        assert_eq!(UserCode::parse("BCDF"), None);
    }
}
