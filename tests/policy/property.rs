//! What holds of any text that is read as a policy. The fuzzer of `fuzz/` asks it
//! of texts that it finds, and `main.rs` of those that are kept.

use biscuit_parser::builder::{Fact, Term};
use biscuit_parser::parser::parse_source;
use hardtack::domain::policy::{Considered, Kind, Policy, PolicyError, Rule, Source, WEBSOCKET};

const NAME: &str = "any.datalog";

/// A refusal says where in the text it is; an accepted text decides the same once
/// its facts are written anew, in another order, and each request is decided by
/// the facts that match it.
pub(crate) fn policy_text(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let policy = match load(text.clone()) {
        Ok(policy) => policy,
        Err(error) => return stands_in(&text, &error),
    };
    // The stock parser of whole sources reads the same facts, where it does not
    // find that a file of white space is none.
    let facts = parse_source(text.trim_matches([' ', '\t', '\r', '\n']));
    let facts = facts.unwrap().facts;
    let facts: Vec<_> = facts.into_iter().map(|(_, fact)| fact).collect();
    let rewritten = facts.iter().rev().map(|fact| printed(fact) + ";\n");
    let again = load(rewritten.collect()).unwrap();
    assert_eq!(policy.catalog_text(), again.catalog_text());
    for (method, path) in facts.iter().filter_map(request) {
        for method in [method, "GET", "POST", WEBSOCKET] {
            let decided = decision(&policy, method, &path);
            assert_eq!(
                decided,
                decision(&again, method, &path),
                "{method} {path:?}"
            );
            decided_by_what_matches(&policy, method, &path);
        }
    }
}

fn load(text: String) -> Result<Policy, PolicyError> {
    let name = NAME.to_owned();
    Policy::load(&[Source { name, text }])
}

/// The rule in words that two policies have in common.
fn decision(policy: &Policy, method: &str, path: &str) -> String {
    let (rule, pattern) = policy.matched(method, path);
    let scope = match rule {
        Rule::Requires(required) => Some(policy.catalog().scope_of(required)),
        Rule::Denied | Rule::Public | Rule::NoRoute => None,
    };
    let rule = match scope {
        Some(scope) => format!("needs {scope}"),
        None => format!("{rule:?}"),
    };
    format!("{rule} by {pattern:?}")
}

/// The place is the whole, or a line and a column that the text has, and the
/// caret below the line stands under that column.
fn stands_in(text: &str, error: &PolicyError) {
    assert!(!error.problem.to_string().is_empty());
    let place = error.place.to_string();
    let Some(excerpt) = error.place.excerpt() else {
        assert_eq!(place, "policy");
        return;
    };
    let spot = place.strip_prefix(NAME).and_then(|p| p.strip_prefix(':'));
    let (line, column) = spot.and_then(|spot| spot.split_once(':')).unwrap();
    let (line, column): (usize, usize) = (line.parse().unwrap(), column.parse().unwrap());
    // The end of the text may be the start of a line that has nothing.
    let full = text.lines().nth(line - 1).unwrap_or_default();
    assert!(line <= text.matches('\n').count() + 1, "{place}");
    assert!((1..=full.chars().count() + 1).contains(&column), "{place}");
    let (shown, caret) = excerpt.split_once('\n').unwrap();
    assert_eq!(shown, format!("{line} | {full}"));
    let margin = format!("{} | ", " ".repeat(line.to_string().len()));
    let indent = caret
        .strip_prefix(&margin)
        .and_then(|c| c.strip_suffix('^'));
    assert_eq!(indent.unwrap().chars().count(), column - 1, "{place}");
}

/// A fact as one would write it.
fn printed(fact: &Fact) -> String {
    let term = |term: &Term| match term {
        Term::Str(text) => {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", escaped.replace('\n', "\\n"))
        }
        other => panic!("{other:?} was accepted"),
    };
    let terms: Vec<_> = fact.predicate.terms.iter().map(term).collect();
    format!("{}({})", fact.predicate.name, terms.join(", "))
}

/// A request that the fact matches, if it is one about requests.
fn request(fact: &Fact) -> Option<(&str, String)> {
    let [Term::Str(method), Term::Str(pattern), ..] = fact.predicate.terms.as_slice() else {
        return None;
    };
    let about = ["deny", "public", "route"].contains(&fact.predicate.name.as_str());
    about.then(|| (method.as_str(), filled(pattern)))
}

/// A path of the pattern: `a` for a segment, `a/b` for the rest.
fn filled(pattern: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        let text = rest.as_str();
        if text.starts_with(c) && ['{', '}'].contains(&c) {
            rest.next();
            path.push(c);
            continue;
        }
        match text.split_once('}') {
            Some((name, after)) if c == '{' => {
                path.push_str(if name.starts_with('*') { "a/b" } else { "a" });
                rest = after.chars();
            }
            Some(_) | None => path.push(c),
        }
    }
    path
}

/// Deny before public before route, and nothing else.
fn decided_by_what_matches(policy: &Policy, method: &str, path: &str) {
    let (rule, pattern) = policy.matched(method, path);
    let considered = policy.consider(method, path);
    let matching = |kind: fn(&Kind) -> bool| {
        let matching = |c: &Considered<'_>| c.matches && kind(&c.fact.kind);
        considered.iter().any(matching)
    };
    let expected = if matching(|kind| matches!(kind, Kind::Deny)) {
        "Denied"
    } else if matching(|kind| matches!(kind, Kind::Public)) {
        "Public"
    } else if matching(|kind| matches!(kind, Kind::Route(_))) {
        "Requires"
    } else {
        "NoRoute"
    };
    let decided = match rule {
        Rule::Denied => "Denied",
        Rule::Public => "Public",
        Rule::Requires(_) => "Requires",
        Rule::NoRoute => "NoRoute",
    };
    assert_eq!(decided, expected, "{method} {path:?}");
    let deciding: Vec<_> = considered.iter().filter(|c| c.decides).collect();
    match (rule, deciding.as_slice()) {
        (Rule::NoRoute, []) => assert_eq!(pattern, None),
        (_, [one]) => {
            assert!(one.matches);
            assert_eq!(pattern, Some(&one.fact.pattern));
            if let (Rule::Requires(required), Kind::Route(scope)) = (rule, &one.fact.kind) {
                assert_eq!(policy.catalog().scope_of(required), *scope);
            }
        }
        (_, several) => panic!("{} facts decide on {method} {path:?}", several.len()),
    }
}
