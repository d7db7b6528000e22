//! Scopes: dotted names of what a token allows, and sets of them.

use std::fmt;
use std::str::FromStr;

use crate::id::InvalidId;

/// The longest scope name, in bytes.
const MAX_LENGTH: usize = 64;

/// A dotted name such as `operator.read`, or `*`, which satisfies every requirement.
///
/// The grammar is narrower than RFC 6749's `scope-token`: lower-case letters,
/// digits, `-` and `_` in parts joined by dots.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// `*`, the scope that satisfies every requirement. Only its holder can give it.
    #[must_use]
    pub fn all() -> Self {
        Self("*".into())
    }

    /// Whether this is `*`.
    #[must_use]
    pub fn is_all(&self) -> bool {
        &*self.0 == "*"
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let part = |p: &str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        };
        if text == "*" || (text.len() <= MAX_LENGTH && text.split('.').all(part)) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId {
                what: "scope",
                why: "a dotted lower-case name of at most 64 bytes, or `*`, is needed",
            })
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A set of scopes, sorted. As text it is the space-separated list of RFC 6749.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeSet(
    /// INVARIANT: ascending, each once. Sets are small, and a tree takes ten times the memory.
    Vec<Scope>,
);

impl ScopeSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The set that holds `*` alone.
    #[must_use]
    pub fn all() -> Self {
        [Scope::all()].into_iter().collect()
    }

    /// Adds a scope.
    pub fn insert(&mut self, scope: Scope) {
        if let Err(at) = self.0.binary_search(&scope) {
            self.0.insert(at, scope);
        }
    }

    /// Whether the very name is in the set; implications are the catalog's matter.
    #[must_use]
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// The scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// The number of scopes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts in order.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(|s| s.as_str().to_owned()).collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes.shrink_to_fit();
        Self(scopes)
    }
}

impl IntoIterator for ScopeSet {
    type Item = Scope;
    type IntoIter = std::vec::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromStr for ScopeSet {
    type Err = InvalidId;

    /// Reads a list separated by spaces (RFC 6749 section 3.3); the empty text is the empty set.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.split(' ')
            .filter(|part| !part.is_empty())
            .map(Scope::from_str)
            .collect()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, scope) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_list_reads_and_prints_sorted() {
        let set: ScopeSet = "operator.write  operator.read operator.read"
            .parse()
            .unwrap();
        assert_eq!(set.to_string(), "operator.read operator.write");
        assert_eq!(ScopeSet::from_str("").unwrap(), ScopeSet::new());
    }

    #[test]
    fn a_scope_is_a_dotted_lower_case_name() {
        for good in ["*", "a", "operator.read", "node.exec-1.x_y"] {
            assert!(good.parse::<Scope>().is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "A", "a b", "operator.*", "a\"b", "**"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
