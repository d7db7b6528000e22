//! `deny`, `public` and `route` facts as lookup tables.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hardtack_token::{Requirement, Scope};

use super::{Place, PolicyError, Problem};

/// The method under which a WebSocket upgrade is decided. No `GET` and no `*`
/// fact admits it: the upgrade opens a channel that can write.
pub const WEBSOCKET: &str = hardtack_token::WEBSOCKET;

/// The word for all methods in a fact.
const ANY: &str = "*";

/// What the policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nobody may.
    Denied,
    /// Everybody may, without a credential.
    Public,
    /// Who holds this scope may.
    Requires(Requirement),
    /// Nothing matches, so nobody may.
    NoRoute,
}

/// What a fact says of the requests that it matches, in the order of being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody may.
    Deny,
    /// Everybody may.
    Public,
    /// Who holds the scope may.
    Route(Scope),
}

/// A fact about requests, and where it stands.
#[derive(Clone, Debug)]
pub struct RouteFact {
    /// What it says.
    pub kind: Kind,
    /// A method, or `*`.
    pub method: String,
    /// The pattern of paths.
    pub pattern: Arc<str>,
    /// Where it was read.
    pub place: Place,
}

/// A fact whose path matches a request's.
#[derive(Clone, Copy, Debug)]
pub struct Considered<'a> {
    /// The fact.
    pub fact: &'a RouteFact,
    /// Whether its method does too.
    pub matches: bool,
    /// Whether it is the one that decides.
    pub decides: bool,
}

/// The compiled tables, asked in the order deny, public, route.
pub(super) struct RouteTable {
    deny: MethodTable,
    public: MethodTable,
    route: MethodTable,
    facts: Vec<RouteFact>,
}

/// Facts by kind, method and pattern.
#[derive(Default)]
pub(super) struct RouteTableBuilder(BTreeMap<(Table, String, String), (Kind, Place)>);

/// Which table a fact belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    Deny,
    Public,
    Route,
}

/// The rule of a fact, and which fact it is.
#[derive(Clone, Copy)]
struct Entry {
    rule: Rule,
    fact: usize,
}

#[derive(Default)]
struct MethodTable {
    exact: BTreeMap<String, matchit::Router<Entry>>,
    any: matchit::Router<Entry>,
}

impl RouteTable {
    pub(super) fn rule(&self, method: &str, path: &str) -> (Rule, Option<&Arc<str>>) {
        let Some(entry) = self.entry(method, path) else {
            return (Rule::NoRoute, None);
        };
        let fact = self.facts.get(entry.fact);
        (entry.rule, fact.map(|fact| &fact.pattern))
    }

    fn entry(&self, method: &str, path: &str) -> Option<Entry> {
        // INVARIANT: `*` in a `deny` covers the upgrade too; in what allows it does not.
        let denied = self.deny.get(method, path);
        if let Some(entry) = denied.or_else(|| self.deny.get_any(path)) {
            return Some(entry);
        }
        let allowed = |table: &MethodTable| {
            let any = || table.get_any(path).filter(|_| method != WEBSOCKET);
            table.get(method, path).or_else(any)
        };
        allowed(&self.public).or_else(|| allowed(&self.route))
    }

    pub(super) fn consider(&self, method: &str, path: &str) -> Vec<Considered<'_>> {
        let decisive = self.entry(method, path).map(|entry| entry.fact);
        let fits = |fact: &RouteFact| {
            let mut alone = matchit::Router::new();
            alone.insert(&*fact.pattern, ()).is_ok() && alone.at(path).is_ok()
        };
        let facts = self.facts.iter().enumerate();
        facts
            .filter(|(_, fact)| fits(fact))
            .map(|(at, fact)| Considered {
                fact,
                matches: fact.matches(method),
                decides: decisive == Some(at),
            })
            .collect()
    }
}

impl RouteFact {
    fn matches(&self, method: &str) -> bool {
        let any = self.method == ANY && (method != WEBSOCKET || self.kind == Kind::Deny);
        any || self.method == method
    }
}

impl fmt::Display for RouteFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method, pattern, ..
        } = self;
        match &self.kind {
            Kind::Deny => write!(f, "deny(\"{method}\", \"{pattern}\")"),
            Kind::Public => write!(f, "public(\"{method}\", \"{pattern}\")"),
            Kind::Route(scope) => write!(f, "route(\"{method}\", \"{pattern}\", \"{scope}\")"),
        }
    }
}

impl RouteTableBuilder {
    /// Adds a fact. Equal ones agree; the first one's place is kept.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        method: String,
        pattern: String,
        place: &Place,
    ) -> Result<(), Problem> {
        check(&method, &pattern)?;
        let table = match kind {
            Kind::Deny => Table::Deny,
            Kind::Public => Table::Public,
            Kind::Route(_) => Table::Route,
        };
        let key = (table, method, pattern);
        if let Some((Kind::Route(other), _)) = self.0.get(&key)
            && let Kind::Route(scope) = &kind
            && other != scope
        {
            let (_, method, pattern) = &key;
            return Err(Problem::Contradiction(format!(
                "`{method} {pattern}` is given two scopes, `{other}` and `{scope}`"
            )));
        }
        self.0.entry(key).or_insert((kind, place.clone()));
        Ok(())
    }

    pub(super) fn build(
        self,
        resolve: impl Fn(&Scope, &Place) -> Result<Requirement, PolicyError>,
    ) -> Result<RouteTable, PolicyError> {
        let (mut deny, mut public, mut route) = Default::default();
        let mut facts = Vec::new();
        for ((_, method, pattern), (kind, place)) in self.0 {
            let (table, rule): (&mut MethodTable, _) = match &kind {
                Kind::Deny => (&mut deny, Rule::Denied),
                Kind::Public => (&mut public, Rule::Public),
                Kind::Route(scope) => (&mut route, Rule::Requires(resolve(scope, &place)?)),
            };
            let fact = facts.len();
            let inserted = table.insert(&method, &pattern, Entry { rule, fact });
            inserted.map_err(|why| PolicyError {
                place: place.clone(),
                problem: Problem::Contradiction(format!("`{method} {pattern}`: {why}")),
            })?;
            facts.push(RouteFact {
                kind,
                method,
                pattern: pattern.into(),
                place,
            });
        }
        Ok(RouteTable {
            deny,
            public,
            route,
            facts,
        })
    }
}

impl MethodTable {
    fn insert(
        &mut self,
        method: &str,
        pattern: &str,
        entry: Entry,
    ) -> Result<(), matchit::InsertError> {
        let router = match method {
            ANY => &mut self.any,
            _ => self.exact.entry(method.to_owned()).or_default(),
        };
        router.insert(pattern, entry)
    }

    fn get(&self, method: &str, path: &str) -> Option<Entry> {
        let matched = self.exact.get(method)?.at(path).ok()?;
        Some(*matched.value)
    }

    fn get_any(&self, path: &str) -> Option<Entry> {
        self.any.at(path).ok().map(|matched| *matched.value)
    }
}

/// How many parameters a pattern may have.
const MOST_PARAMETERS: usize = 25;

fn check(method: &str, pattern: &str) -> Result<(), Problem> {
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if method != ANY && !is_method {
        let why = format!("`{method}` is not a method in capitals, and not `*`");
        return Err(Problem::Shape(why));
    }
    if !pattern.starts_with('/') {
        let why = format!("`{pattern}` is not a path: it does not start with `/`");
        return Err(Problem::Shape(why));
    }
    // INVARIANT: the router ends the process at its 26th parameter.
    if pattern.matches('{').count() > MOST_PARAMETERS {
        let why = format!("a pattern has at most {MOST_PARAMETERS} parameters");
        return Err(Problem::Shape(why));
    }
    Ok(())
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").finish_non_exhaustive()
    }
}
