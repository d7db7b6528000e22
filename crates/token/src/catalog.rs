//! The catalog: which scopes are declared, and which imply which.
//!
//! Implications live here and not in tokens, so that a scope declared next
//! year is covered by yesterday's admin. A set of scopes becomes bits over the
//! declared scopes, plus one bit for `*`, which nothing declared implies.

use crate::bits::ScopeBits;
use crate::catalog_builder::{CatalogBuilder, Implied};
use crate::scope::{Scope, ScopeSet};

/// The declared scopes and their implications, compiled for decisions. The
/// default one declares nothing; its generation is 0.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    pub(crate) generation: u64,
    pub(crate) declared: Vec<Declared>,
    /// For each declared scope, in order, what its holder has: itself and all it implies.
    pub(crate) closures: Vec<ScopeBits>,
}

/// A declared scope as people read it.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The scope.
    pub scope: Scope,
    /// What it allows, in words.
    pub description: String,
    /// What it implies, as written in the policy.
    pub implies: Vec<Implied>,
}

/// A scope that is required, resolved against one catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirement {
    bit: usize,
    /// The catalog it was resolved against; it means nothing under another.
    generation: u64,
}

impl Catalog {
    /// Starts a catalog.
    #[must_use]
    pub fn builder() -> CatalogBuilder {
        CatalogBuilder::default()
    }

    /// A number that no other catalog of this process has: what was compiled
    /// under one generation means nothing under another.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The declared scopes, sorted by name.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// Whether `scope` may be required or given: it is declared, or `*`.
    #[must_use]
    pub fn knows(&self, scope: &Scope) -> bool {
        scope.is_all() || self.position(scope).is_some()
    }

    /// The requirement of `scope`; `None` if it is not declared.
    #[must_use]
    pub fn require(&self, scope: &Scope) -> Option<Requirement> {
        let bit = if scope.is_all() {
            self.declared.len()
        } else {
            self.position(scope)?
        };
        Some(Requirement {
            bit,
            generation: self.generation,
        })
    }

    /// The scope that a requirement of this catalog stands for.
    #[must_use]
    pub fn scope_of(&self, requirement: Requirement) -> Scope {
        self.declared
            .get(requirement.bit)
            .map_or_else(Scope::all, |d| d.scope.clone())
    }

    /// All that the holder of `set` has: the closure under implication.
    /// Names that are not declared give nothing.
    #[must_use]
    pub fn closure(&self, set: &ScopeSet) -> ScopeBits {
        let mut bits = ScopeBits::none(self.bit_count());
        for scope in set.iter() {
            if scope.is_all() {
                bits = ScopeBits::full(self.bit_count());
            } else if let Some(closure) = self.position(scope).and_then(|i| self.closures.get(i)) {
                bits.union(closure);
            }
        }
        bits
    }

    /// The scopes of `bits` by name, sorted, implications expanded.
    #[must_use]
    pub fn names(&self, bits: &ScopeBits) -> ScopeSet {
        let declared = self.declared.iter().enumerate();
        let mut names: ScopeSet = declared
            .filter(|(i, _)| bits.has(*i))
            .map(|(_, d)| d.scope.clone())
            .collect();
        if bits.has(self.declared.len()) {
            names.insert(Scope::all());
        }
        names
    }

    /// [`Self::names`] as text, without making the set.
    #[must_use]
    pub fn text(&self, bits: &ScopeBits) -> String {
        // Before all others, as in the set: no name starts with a lower byte.
        let all = bits.has(self.declared.len()).then_some("*");
        let declared = self.declared.iter().enumerate();
        let declared = declared.filter(|(i, _)| bits.has(*i));
        let mut text = String::new();
        for name in all
            .into_iter()
            .chain(declared.map(|(_, d)| d.scope.as_str()))
        {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(name);
        }
        text
    }

    /// The shortest honest way to say `bits`: those of `named` that are in it,
    /// and those in it that none of these implies.
    #[must_use]
    pub fn summary(&self, bits: &ScopeBits, named: &ScopeSet) -> ScopeSet {
        let mut kept: ScopeSet = named
            .iter()
            .filter(|s| self.require(s).is_some_and(|r| self.meets(bits, r)))
            .cloned()
            .collect();
        // Left over are scopes that two blocks imply by different names.
        loop {
            let covered = self.closure(&kept);
            let missing = self
                .names(bits)
                .into_iter()
                .filter(|s| self.require(s).is_some_and(|r| !self.meets(&covered, r)));
            // The one that implies most comes first; the rest may then be covered.
            let weight = |s: &Scope| self.closure(&[s.clone()].into_iter().collect()).count();
            match missing.max_by_key(weight) {
                Some(scope) => kept.insert(scope),
                None => return kept,
            }
        }
    }

    /// Every scope that satisfies a requirement of `scope`: itself, all that
    /// imply it, and `*`. This is what the reference Datalog is told as `accepts`.
    #[must_use]
    pub fn satisfying(&self, requirement: Requirement) -> ScopeSet {
        let mut set = ScopeSet::all();
        for (declared, closure) in self.declared.iter().zip(&self.closures) {
            if self.meets(closure, requirement) {
                set.insert(declared.scope.clone());
            }
        }
        set
    }

    /// Whether `bits` meet a requirement. One of another catalog is never met.
    #[must_use]
    pub fn meets(&self, bits: &ScopeBits, requirement: Requirement) -> bool {
        requirement.generation == self.generation && bits.has(requirement.bit)
    }

    pub(crate) fn all_bits(&self) -> ScopeBits {
        ScopeBits::full(self.bit_count())
    }

    const fn bit_count(&self) -> usize {
        self.declared.len() + 1
    }

    fn position(&self, scope: &Scope) -> Option<usize> {
        self.declared.binary_search_by(|d| d.scope.cmp(scope)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog_builder::CatalogError;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    fn set(text: &str) -> ScopeSet {
        text.parse().unwrap()
    }

    fn operator() -> Catalog {
        let mut b = Catalog::builder();
        for name in ["read", "write", "admin", "pairing"] {
            b.scope(scope(&format!("operator.{name}")), name).unwrap();
        }
        b.scope(scope("node.connect"), "nodes").unwrap();
        b.implies(
            scope("operator.write"),
            Implied::Scope(scope("operator.read")),
        );
        b.implies(scope("operator.admin"), Implied::Under("operator".into()));
        b.build().unwrap()
    }

    fn allows(catalog: &Catalog, held: &str, required: &str) -> bool {
        let requirement = catalog.require(&scope(required)).unwrap();
        catalog.meets(&catalog.closure(&set(held)), requirement)
    }

    #[test]
    fn the_text_is_that_of_the_names() {
        let c = operator();
        for held in [
            "",
            "operator.read",
            "operator.admin node.connect",
            "*",
            "other",
        ] {
            let bits = c.closure(&set(held));
            assert_eq!(c.text(&bits), c.names(&bits).to_string(), "{held}");
        }
    }

    #[test]
    fn implications_close_over_what_is_declared() {
        let c = operator();
        assert!(allows(&c, "operator.write", "operator.read"));
        assert!(!allows(&c, "operator.read", "operator.write"));
        assert!(allows(&c, "operator.admin", "operator.pairing"));
        assert!(!allows(&c, "operator.admin", "node.connect"));
        assert!(allows(&c, "*", "node.connect"));
        assert!(allows(&c, "*", "*"));
        assert!(!allows(
            &c,
            "operator.admin operator.read node.connect",
            "*"
        ));
    }

    #[test]
    fn an_undeclared_scope_gives_nothing_and_cannot_be_required() {
        let c = operator();
        assert!(c.closure(&set("secret.thing")).is_empty());
        assert!(c.require(&scope("secret.thing")).is_none());
    }

    #[test]
    fn cycles_end() {
        let mut b = Catalog::builder();
        b.scope(scope("a"), "").unwrap();
        b.scope(scope("b"), "").unwrap();
        b.implies(scope("a"), Implied::Scope(scope("b")));
        b.implies(scope("b"), Implied::Scope(scope("a")));
        let c = b.build().unwrap();
        assert!(allows(&c, "a", "b") && allows(&c, "b", "a"));
    }

    #[test]
    fn a_summary_keeps_the_names_that_were_used() {
        let c = operator();
        let both = c.closure(&set("operator.read operator.write"));
        assert_eq!(
            c.summary(&both, &set("* operator.read operator.write")),
            set("operator.read operator.write")
        );
        let read = c.closure(&set("operator.read"));
        assert_eq!(
            c.summary(&read, &set("operator.admin")),
            set("operator.read")
        );
        assert_eq!(c.summary(&c.all_bits(), &ScopeSet::all()), ScopeSet::all());
    }

    #[test]
    fn mistakes_in_a_catalog_are_named() {
        let mut b = Catalog::builder();
        b.scope(scope("a"), "one").unwrap();
        assert_eq!(
            b.scope(scope("a"), "two"),
            Err(CatalogError::DeclaredTwice(scope("a")))
        );
        assert_eq!(b.scope(Scope::all(), ""), Err(CatalogError::ReservedScope));
        b.implies(scope("a"), Implied::Scope(scope("b")));
        assert_eq!(b.build().unwrap_err(), CatalogError::Undeclared(scope("b")));
    }
}
