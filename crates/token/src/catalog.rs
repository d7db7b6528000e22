//! The catalog: which scopes are declared, and which imply which.
//!
//! Implications live here and not in tokens, so that a scope declared next
//! year is covered by yesterday's admin. A set of scopes becomes bits over the
//! declared scopes, plus one bit for `*`, which nothing declared implies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::id::InvalidId;
use crate::scope::{Scope, ScopeSet};

/// Why a catalog cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// A scope is declared twice with different descriptions.
    #[error("scope `{0}` is declared twice with different descriptions")]
    DeclaredTwice(Scope),
    /// `*` is built in.
    #[error("`*` is reserved: it satisfies every requirement and is not declared")]
    ReservedScope,
    /// An implication names a scope that is not declared.
    #[error("scope `{0}` is used in `implies` but not declared by `scope`")]
    Undeclared(Scope),
    /// A pattern of an implication covers no declared scope.
    #[error("`{0}.*` covers no declared scope")]
    EmptyPattern(String),
}

/// What a scope implies: another scope, or every declared scope under a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Implied {
    /// One declared scope.
    Scope(Scope),
    /// Every declared scope whose name starts with this prefix and a dot.
    Under(String),
}

impl fmt::Display for Implied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => scope.fmt(f),
            Self::Under(prefix) => write!(f, "{prefix}.*"),
        }
    }
}

impl FromStr for Implied {
    type Err = InvalidId;

    /// Reads a scope, or a prefix and `.*`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.strip_suffix(".*") {
            Some(prefix) => Ok(Self::Under(prefix.parse::<Scope>()?.to_string())),
            None => Ok(Self::Scope(text.parse()?)),
        }
    }
}

/// The declared scopes and their implications, compiled for decisions. The
/// default one declares nothing; its generation is 0.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    generation: u64,
    declared: Vec<Declared>,
    /// For each declared scope, in order, what its holder has: itself and all it implies.
    closures: Vec<ScopeBits>,
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

/// A set of declared scopes, and perhaps `*`, as bits of one catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeBits(Box<[u64]>);

/// Collects declarations in any order; [`CatalogBuilder::build`] checks them.
#[derive(Clone, Debug, Default)]
pub struct CatalogBuilder {
    scopes: BTreeMap<Scope, String>,
    implies: BTreeMap<Scope, BTreeSet<Implied>>,
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

impl CatalogBuilder {
    /// Declares a scope. Declaring it again with the same words changes nothing.
    pub fn scope(&mut self, scope: Scope, description: &str) -> Result<(), CatalogError> {
        if scope.is_all() {
            return Err(CatalogError::ReservedScope);
        }
        match self.scopes.get(&scope) {
            Some(before) if before != description => Err(CatalogError::DeclaredTwice(scope)),
            Some(_) => Ok(()),
            None => {
                self.scopes.insert(scope, description.to_owned());
                Ok(())
            }
        }
    }

    /// Says that the holder of `scope` also has `implied`.
    pub fn implies(&mut self, scope: Scope, implied: Implied) {
        self.implies.entry(scope).or_default().insert(implied);
    }

    /// Checks the declarations and computes the closures.
    pub fn build(self) -> Result<Catalog, CatalogError> {
        // Generations only have to differ, so relaxed ordering is enough.
        static GENERATIONS: AtomicU64 = AtomicU64::new(1);

        let edges = self.edges()?;
        let count = self.scopes.len();
        let closures = (0..count)
            .map(|start| reachable(start, &edges, count + 1))
            .collect();
        let mut implies = self.implies;
        let declared = self
            .scopes
            .into_iter()
            .map(|(scope, description)| Declared {
                implies: implies.remove(&scope).into_iter().flatten().collect(),
                scope,
                description,
            })
            .collect();
        Ok(Catalog {
            generation: GENERATIONS.fetch_add(1, Ordering::Relaxed),
            declared,
            closures,
        })
    }

    /// For each declared scope, in order, the positions of what it directly implies.
    fn edges(&self) -> Result<Vec<Vec<usize>>, CatalogError> {
        let names: Vec<&Scope> = self.scopes.keys().collect();
        let position = |scope: &Scope| {
            names
                .binary_search(&scope)
                .map_err(|_| CatalogError::Undeclared(scope.clone()))
        };
        let mut edges = vec![Vec::new(); names.len()];
        for (scope, targets) in &self.implies {
            let from = position(scope)?;
            let mut reached = Vec::new();
            for target in targets {
                match target {
                    Implied::Scope(scope) => reached.push(position(scope)?),
                    Implied::Under(prefix) => {
                        let before = reached.len();
                        let under = format!("{prefix}.");
                        reached.extend((0..names.len()).filter(|i| {
                            names
                                .get(*i)
                                .is_some_and(|n| n.as_str().starts_with(&under))
                        }));
                        if reached.len() == before {
                            return Err(CatalogError::EmptyPattern(prefix.clone()));
                        }
                    }
                }
            }
            if let Some(slot) = edges.get_mut(from) {
                *slot = reached;
            }
        }
        Ok(edges)
    }
}

fn reachable(start: usize, edges: &[Vec<usize>], bit_count: usize) -> ScopeBits {
    let mut bits = ScopeBits::none(bit_count);
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        if !bits.has(at) {
            bits.set(at);
            open.extend(edges.get(at).into_iter().flatten());
        }
    }
    bits
}

impl ScopeBits {
    fn none(bit_count: usize) -> Self {
        Self(vec![0; bit_count.div_ceil(64)].into_boxed_slice())
    }

    fn full(bit_count: usize) -> Self {
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

    fn union(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The bytes that it takes beside its own size.
    pub(crate) fn heap(&self) -> usize {
        size_of_val::<[u64]>(&self.0)
    }

    fn has(&self, bit: usize) -> bool {
        self.0
            .get(bit / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    fn set(&mut self, bit: usize) {
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
