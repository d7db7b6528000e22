//! From Datalog text to typed facts, each with its place.

use biscuit_parser::builder::{self, Term};
use biscuit_parser::parser::{fact_inner, sep};
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

/// How deep brackets may stand in each other before a fact is not even read: the
/// parser calls itself for each, and no fact of the policy language has more than one.
const DEEPEST: usize = 8;

/// White space of Datalog.
const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

/// The facts of a source, each with its place.
pub(super) fn facts(source: &Source) -> Result<Vec<(Place, Fact)>, PolicyError> {
    let error = |at: &str, problem| PolicyError {
        place: Place::of(source, at),
        problem,
    };
    let syntax = |at: &str, why: &str| error(at, Problem::Syntax(why.to_owned()));
    let mut facts = Vec::new();
    let mut rest = source.text.as_str();
    loop {
        rest = after_comments(rest).map_err(|at| syntax(at, "this comment has no end"))?;
        if rest.is_empty() {
            return Ok(facts);
        }
        // INVARIANT: fact by fact, and nothing but facts: the stock parser of
        // whole sources follows rules and expressions to any depth, which ends
        // the process and not the reading.
        let statement = statement(rest).map_err(|at| syntax(at, "this is nested too deeply"))?;
        let refused = |at: &str, why: Option<String>| {
            if is_no_fact(statement) {
                return error(statement, Problem::NotAFact);
            }
            let why = why.unwrap_or_else(|| "this is not a fact that ends in `;`".to_owned());
            error(at, Problem::Syntax(why))
        };
        let (after, fact) = fact_inner(rest).map_err(|failed| {
            let mut at = (rest, None);
            failed.map(|inner| at = (inner.input, inner.message));
            refused(at.0, at.1)
        })?;
        let (after, _) = sep(after).map_err(|_| refused(statement, None))?;
        let fact = read_fact(&fact).map_err(|problem| error(statement, problem))?;
        facts.push((Place::of(source, statement), fact));
        rest = after;
    }
}

/// What follows white space and comments, or the comment that has no end.
fn after_comments(text: &str) -> Result<&str, &str> {
    let mut rest = text.trim_start_matches(BLANK);
    loop {
        let after = if let Some(comment) = rest.strip_prefix("//") {
            let end = comment.find(['\r', '\n']).unwrap_or(comment.len());
            let (_, after) = comment.split_at_checked(end).ok_or(rest)?;
            // A carriage return alone ends no line.
            let ends = ["\n", "\r\n"].iter().any(|end| after.starts_with(end));
            if !ends && !after.is_empty() {
                return Err(rest);
            }
            after
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").ok_or(rest)?.1
        } else {
            return Ok(rest);
        };
        rest = after.trim_start_matches(BLANK);
    }
}

/// The text up to the `;` that ends it, or the bracket that stands too deep.
fn statement(text: &str) -> Result<&str, &str> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        let (before, from) = text.split_at_checked(at).unwrap_or((text, ""));
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            ';' => return Ok(before),
            '(' | '[' | '{' if depth == DEEPEST => return Err(from),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(text)
}

/// Whether it looks like a rule, a check or a policy.
fn is_no_fact(statement: &str) -> bool {
    let starts = ["check if", "check all", "reject if", "allow if", "deny if"];
    statement.contains("<-") || starts.iter().any(|word| statement.starts_with(word))
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
