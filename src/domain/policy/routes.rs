//! `deny`, `public` and `route` facts as lookup tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hardtack_token::{Requirement, Scope};

use super::{PolicyError, Problem};

/// The method under which a WebSocket upgrade is decided. No `GET` and no `*`
/// fact admits it: the upgrade opens a channel that can write.
pub const WEBSOCKET: &str = "WEBSOCKET";

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

/// The compiled tables, asked in the order deny, public, route.
pub(super) struct RouteTable {
    deny: MethodTable<()>,
    public: MethodTable<()>,
    route: MethodTable<Requirement>,
}

/// Facts by method and pattern, and where each was read.
#[derive(Default)]
pub(super) struct RouteTableBuilder {
    deny: BTreeSet<(String, String)>,
    public: BTreeSet<(String, String)>,
    route: BTreeMap<(String, String), (Scope, String)>,
}

struct MethodTable<T> {
    exact: BTreeMap<String, matchit::Router<T>>,
    any: matchit::Router<T>,
}

impl RouteTable {
    pub(super) fn rule(&self, method: &str, path: &str) -> Rule {
        // INVARIANT: `*` in a `deny` covers the upgrade too; in what allows it does not.
        if self.deny.get(method, path).is_some() || self.deny.get_any(path).is_some() {
            return Rule::Denied;
        }
        let any_method = method != WEBSOCKET;
        let public = self.public.get(method, path);
        let public = public.or_else(|| self.public.get_any(path).filter(|()| any_method));
        if public.is_some() {
            return Rule::Public;
        }
        let route = self.route.get(method, path);
        match route.or_else(|| self.route.get_any(path).filter(|_| any_method)) {
            Some(required) => Rule::Requires(required),
            None => Rule::NoRoute,
        }
    }
}

impl RouteTableBuilder {
    pub(super) fn deny(&mut self, method: String, pattern: String) -> Result<(), Problem> {
        self.deny.insert(checked(method, pattern)?);
        Ok(())
    }

    pub(super) fn public(&mut self, method: String, pattern: String) -> Result<(), Problem> {
        self.public.insert(checked(method, pattern)?);
        Ok(())
    }

    pub(super) fn route(
        &mut self,
        method: String,
        pattern: String,
        scope: Scope,
        place: &str,
    ) -> Result<(), Problem> {
        let key = checked(method, pattern)?;
        if let Some((other, _)) = self.route.get(&key).filter(|(other, _)| *other != scope) {
            let (method, pattern) = key;
            return Err(Problem::Contradiction(format!(
                "`{method} {pattern}` is given two scopes, `{other}` and `{scope}`"
            )));
        }
        self.route.insert(key, (scope, place.to_owned()));
        Ok(())
    }

    pub(super) fn build(
        self,
        resolve: impl Fn(&Scope, &str) -> Result<Requirement, PolicyError>,
    ) -> Result<RouteTable, PolicyError> {
        let mut route = BTreeMap::new();
        for (key, (scope, place)) in self.route {
            route.insert(key, resolve(&scope, &place)?);
        }
        Ok(RouteTable {
            deny: MethodTable::new(self.deny.into_iter().map(|key| (key, ())))?,
            public: MethodTable::new(self.public.into_iter().map(|key| (key, ())))?,
            route: MethodTable::new(route)?,
        })
    }
}

impl<T: Copy> MethodTable<T> {
    fn new(facts: impl IntoIterator<Item = ((String, String), T)>) -> Result<Self, PolicyError> {
        let mut table = Self {
            exact: BTreeMap::new(),
            any: matchit::Router::new(),
        };
        for ((method, pattern), value) in facts {
            let router = match method.as_str() {
                "*" => &mut table.any,
                _ => table.exact.entry(method.clone()).or_default(),
            };
            let inserted = router.insert(pattern.clone(), value);
            inserted.map_err(|why| PolicyError {
                place: format!("{method} {pattern}"),
                problem: Problem::Contradiction(why.to_string()),
            })?;
        }
        Ok(table)
    }

    fn get(&self, method: &str, path: &str) -> Option<T> {
        let matched = self.exact.get(method)?.at(path).ok()?;
        Some(*matched.value)
    }

    fn get_any(&self, path: &str) -> Option<T> {
        self.any.at(path).ok().map(|matched| *matched.value)
    }
}

fn checked(method: String, pattern: String) -> Result<(String, String), Problem> {
    let is_method = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase());
    if method != "*" && !is_method {
        let why = format!("`{method}` is not a method in capitals, and not `*`");
        return Err(Problem::Shape(why));
    }
    if !pattern.starts_with('/') {
        let why = format!("`{pattern}` is not a path: it does not start with `/`");
        return Err(Problem::Shape(why));
    }
    Ok((method, pattern))
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable").finish_non_exhaustive()
    }
}
