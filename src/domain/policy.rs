//! The policy: Datalog facts from files, compiled to native tables.
//!
//! Facts only. `scope`, `implies` and `role` make the catalog, `rpc` names the
//! scope of an operation, `deny`, `public` and `route` decide on HTTP requests.

mod parse;
mod place;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use hardtack_token::{Catalog, CatalogError, InvalidId, Requirement, Role, Scope};

use crate::domain::operation::Operation;
use parse::{Fact, facts};
pub use place::Place;
pub use routes::{Considered, Kind, RouteFact, Rule, WEBSOCKET};
use routes::{RouteTable, RouteTableBuilder};

/// What is always loaded first.
pub const HARDTACK: &str = include_str!("../../policies/hardtack.datalog");
/// What is loaded where no other policy is named.
pub const GATEWAY: &str = include_str!("../../policies/gateway.datalog");

/// What is loaded besides where OpenClaw's clients are let in.
pub const OPENCLAW: &str = include_str!("../../policies/openclaw.datalog");

/// One policy text and where it came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// A file name or another word for it, for error messages.
    pub name: String,
    /// The Datalog.
    pub text: String,
}

/// The compiled policy. It is immutable: a change of files makes a new one.
#[derive(Debug)]
pub struct Policy {
    catalog: Arc<Catalog>,
    roles: BTreeMap<Role, Option<Scope>>,
    rpc: BTreeMap<String, (Scope, Requirement)>,
    routes: RouteTable,
}

/// Why a policy cannot be loaded, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyError {
    /// Where it is.
    pub place: Place,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong in a policy.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The text does not parse.
    #[error("{0}")]
    Syntax(String),
    /// Something else than a fact.
    #[error("only facts are allowed in a policy, no rules, checks or policies")]
    NotAFact,
    /// A fact of another shape than the known ones.
    #[error("{0}")]
    Shape(String),
    /// A name that is not well formed.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The scopes do not make a catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Two facts contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A scope is used and not declared.
    #[error("scope `{0}` is not declared by `scope`")]
    Undeclared(Scope),
    /// An operation of hardtack's own has no scope.
    #[error("no `rpc` fact names the scope of `{0}`")]
    OperationWithoutScope(&'static str),
}

impl Policy {
    /// Compiles `hardtack.datalog` and the given sources; with none, the gateway's default.
    pub fn load(sources: &[Source]) -> Result<Self, PolicyError> {
        Self::load_after(&[], sources)
    }

    /// The same with what OpenClaw's clients may call. The given sources may
    /// replace the scope of a method.
    pub fn load_with_openclaw(sources: &[Source]) -> Result<Self, PolicyError> {
        Self::load_after(&[("policies/openclaw.datalog", OPENCLAW)], sources)
    }

    fn load_after(first: &[(&str, &str)], sources: &[Source]) -> Result<Self, PolicyError> {
        let builtin = |name: &str, text: &str| Source {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        let mut draft = Draft::default();
        draft.add(&builtin("policies/hardtack.datalog", HARDTACK))?;
        for (name, text) in first {
            draft.add(&builtin(name, text))?;
        }
        // What was there first may be replaced; what comes after may not
        // contradict itself.
        let replaceable = std::mem::take(&mut draft.rpc);
        if sources.is_empty() {
            draft.add(&builtin("policies/gateway.datalog", GATEWAY))?;
        }
        for source in sources {
            draft.add(source)?;
        }
        for (name, entry) in replaceable {
            draft.rpc.entry(name).or_insert(entry);
        }
        draft.compile()
    }

    /// The scopes and their implications.
    #[must_use]
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// Whether a role may be asked for, and the scope that giving it needs and adds.
    #[must_use]
    pub fn role(&self, role: &Role) -> Option<Option<&Scope>> {
        self.roles.get(role).map(Option::as_ref)
    }

    /// The roles that may be asked for.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.keys()
    }

    /// The scope of an RPC method, resolved; `None` if the policy has none.
    #[must_use]
    pub fn rpc(&self, name: &str) -> Option<(&Scope, Requirement)> {
        self.rpc
            .get(name)
            .map(|(scope, required)| (scope, *required))
    }

    /// What an operation of hardtack's own needs; `None` if any credential will do.
    #[must_use]
    pub fn operation(&self, operation: Operation) -> Option<(&Scope, Requirement)> {
        self.rpc(operation.name())
    }

    /// What the policy says of an HTTP request. `path` is canonical.
    #[must_use]
    pub fn rule(&self, method: &str, path: &str) -> Rule {
        self.matched(method, path).0
    }

    /// The same, with the pattern of the fact that decides.
    #[must_use]
    pub fn matched(&self, method: &str, path: &str) -> (Rule, Option<&Arc<str>>) {
        self.routes.rule(method, path)
    }

    /// Every fact whose path matches the request's, in the order in which they
    /// are asked. `path` is canonical.
    #[must_use]
    pub fn consider(&self, method: &str, path: &str) -> Vec<Considered<'_>> {
        self.routes.consider(method, path)
    }

    /// The catalog in words that do not depend on the order of files, to see
    /// whether it changed since the last start.
    #[must_use]
    pub fn catalog_text(&self) -> String {
        let mut lines = Vec::new();
        for declared in self.catalog.declared() {
            lines.push(format!("scope {}", declared.scope));
            for implied in &declared.implies {
                lines.push(format!("implies {} {implied}", declared.scope));
            }
        }
        for (role, scope) in &self.roles {
            let scope = scope.as_ref().map_or("", Scope::as_str);
            lines.push(format!("role {role} {scope}").trim_end().to_owned());
        }
        for (name, (scope, _)) in &self.rpc {
            lines.push(format!("rpc {name} {scope}"));
        }
        lines.join("\n")
    }
}

/// Facts as they are read, before they are checked against each other.
#[derive(Default)]
struct Draft {
    catalog: hardtack_token::CatalogBuilder,
    roles: BTreeMap<Role, Option<Scope>>,
    rpc: BTreeMap<String, (Scope, Place)>,
    routes: RouteTableBuilder,
}

impl Draft {
    fn add(&mut self, source: &Source) -> Result<(), PolicyError> {
        for (place, fact) in facts(source)? {
            self.add_fact(fact, &place)
                .map_err(|problem| PolicyError { place, problem })?;
        }
        Ok(())
    }

    fn add_fact(&mut self, fact: Fact, place: &Place) -> Result<(), Problem> {
        match fact {
            Fact::Scope(scope, description) => self.catalog.scope(scope, &description)?,
            Fact::Implies(scope, implied) => self.catalog.implies(scope, implied),
            Fact::Role(role, scope) => {
                let before = self.roles.insert(role.clone(), scope.clone());
                if before.is_some_and(|b| b != scope) {
                    let why = format!("role `{role}` is declared twice with different scopes");
                    return Err(Problem::Contradiction(why));
                }
            }
            Fact::Rpc(name, scope) => {
                let entry = (scope.clone(), place.clone());
                let before = self.rpc.insert(name.clone(), entry);
                if before.is_some_and(|(b, _)| b != scope) {
                    let why = format!("operation `{name}` is given two scopes");
                    return Err(Problem::Contradiction(why));
                }
            }
            Fact::Deny(method, path) => self.routes.add(Kind::Deny, method, path, place)?,
            Fact::Public(method, path) => self.routes.add(Kind::Public, method, path, place)?,
            Fact::Route(method, path, scope) => {
                self.routes.add(Kind::Route(scope), method, path, place)?;
            }
        }
        Ok(())
    }

    fn compile(self) -> Result<Policy, PolicyError> {
        let whole = |problem| PolicyError {
            place: Place::whole(),
            problem,
        };
        let catalog = self.catalog.build().map_err(|e| whole(e.into()))?;
        let resolve = |scope: &Scope, place: &Place| {
            catalog.require(scope).ok_or_else(|| PolicyError {
                place: place.clone(),
                problem: Problem::Undeclared(scope.clone()),
            })
        };
        for scope in self.roles.values().flatten() {
            resolve(scope, &Place::whole())?;
        }
        let mut rpc = BTreeMap::new();
        for (name, (scope, place)) in self.rpc {
            let required = resolve(&scope, &place)?;
            rpc.insert(name, (scope, required));
        }
        for operation in Operation::WITH_SCOPE {
            if !rpc.contains_key(operation.name()) {
                return Err(whole(Problem::OperationWithoutScope(operation.name())));
            }
        }
        Ok(Policy {
            routes: self.routes.build(resolve)?,
            catalog: Arc::new(catalog),
            roles: self.roles,
            rpc,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Policy, PolicyError> {
        Policy::load(&[Source {
            name: "mine.datalog".to_owned(),
            text: text.to_owned(),
        }])
    }

    fn refused(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn the_built_in_policy_loads_and_routes() {
        let policy = Policy::load(&[]).unwrap();
        let needs = |method: &str, path: &str| match policy.rule(method, path) {
            Rule::Requires(r) => policy.catalog().scope_of(r).to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(needs("GET", "/api/x"), "operator.read");
        assert_eq!(needs("HEAD", "/api/x"), "operator.write");
        assert_eq!(needs("POST", "/api/x/y"), "operator.write");
        assert_eq!(needs("WEBSOCKET", "/api/x"), "operator.write");
        assert_eq!(needs("GET", "/other"), "NoRoute");
    }

    #[test]
    fn what_openclaw_s_clients_may_call_is_replaced_by_a_file_and_agrees_with_itself() {
        let source = |text: &str| Source {
            name: "mine.datalog".to_owned(),
            text: text.to_owned(),
        };
        let policy = Policy::load_with_openclaw(&[source(OPENCLAW)]).unwrap();
        let scope = |policy: &Policy, name: &str| policy.rpc(name).unwrap().0.to_string();
        assert_eq!(scope(&policy, "config.set"), "operator.admin");
        assert_eq!(scope(&policy, "device.pair.approve"), "operator.pairing");
        let node = "node".parse().unwrap();
        let role_scope = policy.role(&node).unwrap().unwrap();
        assert_eq!(role_scope.as_str(), "node.connect");
        // Without files of one's own the gateway keeps its default.
        let policy = Policy::load_with_openclaw(&[]).unwrap();
        assert!(matches!(policy.rule("GET", "/api/x"), Rule::Requires(_)));
        let mine = r#"rpc("config.set", "operator.write");"#;
        let policy = Policy::load_with_openclaw(&[source(mine)]).unwrap();
        assert_eq!(scope(&policy, "config.set"), "operator.write");
        assert!(Policy::load(&[]).unwrap().rpc("config.set").is_none());
    }

    #[test]
    fn a_later_rpc_replaces_the_built_in_one_and_only_that() {
        let policy = load(r#"rpc("hardtack.pairing.list", "operator.read");"#).unwrap();
        let (scope, _) = policy.operation(Operation::PairingList).unwrap();
        assert_eq!(scope.as_str(), "operator.read");
        let (scope, _) = policy.operation(Operation::PairingApprove).unwrap();
        assert_eq!(scope.as_str(), "operator.pairing");
        let twice = r#"rpc("a.b", "operator.read"); rpc("a.b", "operator.write");"#;
        assert!(refused(twice).contains("two scopes"));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, expected) in [
            ("scope(\"a\"", "mine.datalog:1:1"),
            ("\n  foo(\"x\");", "mine.datalog:2:3: `foo`"),
            ("scope(1, \"x\");", "strings"),
            ("check if true;", "only facts"),
            ("a($x) <- b($x);", "only facts"),
            ("route(\"GET\", \"/x\");", "`route`"),
            (
                "route(\"GET\", \"/x\", \"no.such\");",
                "mine.datalog:1:1: scope `no.such`",
            ),
            ("route(\"get\", \"/x\", \"operator.read\");", "method"),
            ("route(\"GET\", \"x\", \"operator.read\");", "path"),
            ("scope(\"operator.read\", \"other words\");", "twice"),
            ("role(\"operator\", \"operator.admin\");", "twice"),
            (
                "route(\"GET\", \"/x\", \"operator.read\"); route(\"GET\", \"/x\", \"operator.write\");",
                "mine.datalog:1:38",
            ),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn files_are_merged_and_equal_facts_agree() {
        let policy = load(
            "scope(\"node.connect\", \"Connect as a node\"); role(\"node\", \"node.connect\");
             route(\"GET\", \"/x\", \"node.connect\"); route(\"GET\", \"/x\", \"node.connect\");
             // a comment
             public(\"GET\", \"/assets/{*rest}\"); deny(\"*\", \"/assets/secret\");",
        )
        .unwrap();
        assert!(matches!(policy.rule("GET", "/assets/a.js"), Rule::Public));
        assert!(matches!(policy.rule("GET", "/assets/secret"), Rule::Denied));
        assert!(matches!(
            policy.rule("WEBSOCKET", "/assets/a.js"),
            Rule::NoRoute
        ));
        assert!(matches!(
            policy.rule("WEBSOCKET", "/assets/secret"),
            Rule::Denied
        ));
        let node = "node".parse().unwrap();
        assert_eq!(
            policy.role(&node).unwrap().unwrap().as_str(),
            "node.connect"
        );
    }

    #[test]
    fn what_is_considered_names_the_fact_that_the_rule_is_of() {
        let policy = load(
            "deny(\"*\", \"/a/secret\"); public(\"GET\", \"/a/{*rest}\"); deny(\"WEBSOCKET\", \"/a/s\");
             route(\"*\", \"/a/{*rest}\", \"operator.read\"); route(\"WEBSOCKET\", \"/a/{x}\", \"operator.write\");",
        )
        .unwrap();
        for method in ["GET", "POST", WEBSOCKET] {
            for path in ["/a/secret", "/a/s", "/a/b", "/a/b/c", "/b"] {
                let considered = policy.consider(method, path);
                let decisive: Vec<_> = considered.iter().filter(|c| c.decides).collect();
                let same = match (policy.rule(method, path), decisive.as_slice()) {
                    (Rule::NoRoute, []) => considered.iter().all(|c| !c.matches),
                    (Rule::Denied, [c]) => c.matches && c.fact.kind == Kind::Deny,
                    (Rule::Public, [c]) => c.matches && c.fact.kind == Kind::Public,
                    (Rule::Requires(required), [c]) => {
                        let scope = policy.catalog().scope_of(required);
                        c.matches && c.fact.kind == Kind::Route(scope)
                    }
                    (_, _) => false,
                };
                assert!(same, "{method} {path}: {considered:?}");
            }
        }
    }
}
