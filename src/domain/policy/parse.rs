//! From Datalog text to typed facts, each with its place.

use biscuit_parser::builder::{self, Term};
use biscuit_parser::parser::parse_source;
use hardtack_token::{Implied, Role, Scope};

use super::{Place, PolicyError, Problem, Source};

/// A fact of the policy language.
pub(super) enum Fact {
    Scope(Scope, String),
    Implies(Scope, Implied),
    Role(Role, Option<Scope>),
    Public(String, String),
    Deny(String, String),
    Route(String, String, Scope),
    Rpc(String, Scope),
}

/// The facts of a source, each with its place.
pub(super) fn facts(source: &Source) -> Result<Vec<(Place, Fact)>, PolicyError> {
    let error = |at: &str, problem| PolicyError {
        place: Place::of(source, at),
        problem,
    };
    let parsed = parse_source(&source.text).map_err(|errors| {
        let first = errors.first();
        let at = first.map_or("", |e| e.input);
        let why = first.and_then(|e| e.message.clone());
        let why = why.unwrap_or_else(|| "this is not a fact that ends in `;`".to_owned());
        error(at, Problem::Syntax(why))
    })?;
    let others = parsed.rules.first().map(|(at, _)| *at);
    let others = others.or(parsed.checks.first().map(|(at, _)| *at));
    if let Some(at) = others.or(parsed.policies.first().map(|(at, _)| *at)) {
        return Err(error(at, Problem::NotAFact));
    }
    let read = |(at, fact): &(&str, builder::Fact)| match read_fact(fact) {
        Ok(fact) => Ok((Place::of(source, at), fact)),
        Err(problem) => Err(error(at, problem)),
    };
    parsed.facts.iter().map(read).collect()
}

fn read_fact(fact: &builder::Fact) -> Result<Fact, Problem> {
    let name = fact.predicate.name.as_str();
    let text = |term: &Term| match term {
        Term::Str(text) => Ok(text.clone()),
        _ => Err(Problem::Shape(format!("`{name}` takes strings only"))),
    };
    let terms = fact.predicate.terms.iter().map(text);
    let terms = terms.collect::<Result<Vec<String>, _>>()?;
    let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
    Ok(match (name, terms.as_slice()) {
        ("scope", [scope, words]) => Fact::Scope(scope.parse()?, (*words).to_owned()),
        ("implies", [scope, implied]) => Fact::Implies(scope.parse()?, implied.parse()?),
        ("role", [role]) => Fact::Role(role.parse()?, None),
        ("role", [role, scope]) => Fact::Role(role.parse()?, Some(scope.parse()?)),
        ("public", [method, path]) => Fact::Public((*method).to_owned(), (*path).to_owned()),
        ("deny", [method, path]) => Fact::Deny((*method).to_owned(), (*path).to_owned()),
        ("route", [method, path, scope]) => {
            Fact::Route((*method).to_owned(), (*path).to_owned(), scope.parse()?)
        }
        ("rpc", [name, scope]) => Fact::Rpc((*name).to_owned(), scope.parse()?),
        _ => {
            return Err(Problem::Shape(format!(
                "`{name}` with {} terms is not known: scope(name, words), implies(scope, scope), role(name[, scope]), public(method, path), deny(method, path), route(method, path, scope), rpc(name, scope)",
                terms.len()
            )));
        }
    })
}
