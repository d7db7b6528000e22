//! A catalog out of declarations in any order: what is wrong with them, and all
//! that each scope implies in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::bits::ScopeBits;
use crate::catalog::{Catalog, Declared};
use crate::id::InvalidId;
use crate::scope::Scope;

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

/// Collects declarations in any order; [`CatalogBuilder::build`] checks them.
#[derive(Clone, Debug, Default)]
pub struct CatalogBuilder {
    scopes: BTreeMap<Scope, String>,
    implies: BTreeMap<Scope, BTreeSet<Implied>>,
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
