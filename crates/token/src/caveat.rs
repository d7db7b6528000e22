//! Caveats: the closed list of checks that narrow a token.

use std::collections::BTreeSet;

use biscuit_auth::builder::{
    Binary, BlockBuilder, Check, CheckKind, Expression, Op, Rule, Term, pred, set, string, var,
};
use biscuit_auth::format::schema;

use crate::id::DeviceId;
use crate::scope::ScopeSet;
use crate::symbols::Symbols;
use crate::time::Timestamp;

/// One check of the profile. A token is as narrow as all its caveats together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caveat {
    /// `check if accepts($s), {…}.contains($s)`: only what these scopes give.
    Scopes(ScopeSet),
    /// `check if time($t), $t < …`: valid before this point, not at it.
    NotAfter(Timestamp),
    /// `check if audience($a), {…}.contains($a)`: only for these origins.
    Audience(BTreeSet<String>),
    /// `check if holder("…")`: only with proof of this device's key.
    Holder(DeviceId),
    /// `check if method($m), {…}.contains($m)`: only these HTTP methods.
    Method(BTreeSet<String>),
    /// `check if path($p), $p.starts_with("…/")`: only below this path.
    Path(PathPrefix),
    /// `check if operation($o), {…}.contains($o)`: only these RPC methods.
    Operation(BTreeSet<String>),
}

/// A path prefix that starts and ends in `/`, so that `/v1/devices/` does not
/// admit `/v1/devices-admin`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// Takes a prefix; `None` unless it starts and ends in `/`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.starts_with('/') && text.ends_with('/')).then(|| Self(text.into()))
    }

    /// The prefix's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path lies below. The path is read as if it ended in `/`.
    #[must_use]
    pub fn admits(&self, path: &str) -> bool {
        path.starts_with(&*self.0) || self.0.strip_suffix('/') == Some(path)
    }
}

/// The allowed caveats in words, for refusals.
pub(crate) const ALLOWED: &str = "scopes, time, audience, holder, method, path and operation \
     checks in the forms of the token profile";

/// Which check it is, where its name can be shown.
///
/// SECURITY: whoever made the token chose the name, and the reason goes to logs
/// and terminals: only what Datalog itself would take for a name is repeated.
fn on(name: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b':';
    if name.len() <= 64 && name.bytes().all(plain) {
        format!(" on `{name}`")
    } else {
        String::new()
    }
}

impl Caveat {
    /// Whether a grant may carry it: only what every descendant can meet.
    pub(crate) const fn allowed_in_grant(&self) -> bool {
        match self {
            Self::Scopes(_) | Self::NotAfter(_) => true,
            Self::Audience(_)
            | Self::Holder(_)
            | Self::Method(_)
            | Self::Path(_)
            | Self::Operation(_) => false,
        }
    }

    /// Adds the check to a block that is being built.
    pub(crate) fn add_to(
        &self,
        block: BlockBuilder,
    ) -> Result<BlockBuilder, biscuit_auth::error::Token> {
        let variable = |name: &str| Op::Value(var(name));
        let member = |fact: &str, name: &str, of: Vec<&str>| {
            let texts = of.into_iter().map(string).collect();
            let ops = vec![
                Op::Value(set(texts)),
                variable(name),
                Op::Binary(Binary::Contains),
            ];
            check(fact, var(name), ops)
        };
        let texts = |set: &'_ BTreeSet<String>| -> Vec<String> { set.iter().cloned().collect() };
        let strs = |list: &[String], fact: &str, name: &str| {
            member(fact, name, list.iter().map(String::as_str).collect())
        };
        block.check(match self {
            Self::Scopes(scopes) => strs(&scopes.to_strings(), "accepts", "s"),
            Self::Audience(origins) => strs(&texts(origins), "audience", "a"),
            Self::Method(methods) => strs(&texts(methods), "method", "m"),
            Self::Operation(names) => strs(&texts(names), "operation", "o"),
            Self::Holder(device) => check("holder", string(&device.to_string()), Vec::new()),
            Self::NotAfter(end) => {
                let date = Op::Value(Term::Date(end.unix()));
                let ops = vec![variable("t"), date, Op::Binary(Binary::LessThan)];
                check("time", var("t"), ops)
            }
            Self::Path(prefix) => {
                let prefix = Op::Value(string(prefix.as_str()));
                let ops = vec![variable("p"), prefix, Op::Binary(Binary::Prefix)];
                check("path", var("p"), ops)
            }
        })
    }

    /// Reads a check of a decoded block; the error says what is wrong with it.
    pub(crate) fn read(
        check: &schema::Check,
        version: u32,
        symbols: &Symbols,
    ) -> Result<Self, String> {
        // Kinds came with Datalog 3.1 (version 4); there 0 is `check if` too.
        let check_if = check.kind.is_none() || (check.kind == Some(0) && version >= 4);
        let query = match (check_if, check.queries.as_slice()) {
            (true, [query]) => query,
            (true, _) => return Err("a check has alternatives".to_owned()),
            (false, _) => return Err("a check is not of the kind `check if`".to_owned()),
        };
        let headless = query.head.terms.is_empty() && symbols.get(query.head.name) == Some("query");
        let [body] = query.body.as_slice() else {
            return Err("a check joins several facts".to_owned());
        };
        if !headless || !query.scope.is_empty() {
            return Err("a check has a head or a scope annotation of its own".to_owned());
        }
        let name = symbols.get(body.name).unwrap_or("?");
        let [term] = body.terms.as_slice() else {
            let check = on(name);
            return Err(format!("the check{check} has not exactly one term"));
        };
        Self::read_one(name, term, &query.expressions, symbols)
            .ok_or_else(|| format!("the check{} is none of the allowed: {ALLOWED}", on(name)))
    }

    fn read_one(
        name: &str,
        term: &schema::Term,
        expressions: &[schema::Expression],
        symbols: &Symbols,
    ) -> Option<Self> {
        use schema::op_binary::Kind;
        use schema::term::Content;

        let variable = match (name, term.content.as_ref()?, expressions) {
            ("holder", Content::String(id), []) => {
                return symbols.get(*id)?.parse().ok().map(Self::Holder);
            }
            (_, Content::Variable(id), [_]) => *id,
            _ => return None,
        };
        // The name of a variable is free, but it must have one.
        symbols.get(variable.into())?;
        let operation = BinaryOp::read(&expressions.first()?.ops)?;
        let on_variable = |term: &Content| *term == Content::Variable(variable);
        let BinaryOp { left, right, kind } = operation;
        match (name, kind) {
            ("accepts", Kind::Contains) if on_variable(right) => {
                let names = strings(left, symbols)?;
                let scopes = names
                    .iter()
                    .map(|n| n.parse().ok())
                    .collect::<Option<_>>()?;
                Some(Self::Scopes(scopes))
            }
            ("audience", Kind::Contains) if on_variable(right) => {
                strings(left, symbols).map(Self::Audience)
            }
            ("method", Kind::Contains) if on_variable(right) => {
                strings(left, symbols).map(Self::Method)
            }
            ("operation", Kind::Contains) if on_variable(right) => {
                strings(left, symbols).map(Self::Operation)
            }
            ("path", Kind::Prefix) if on_variable(left) => {
                PathPrefix::new(text(right, symbols)?).map(Self::Path)
            }
            ("time", Kind::LessThan) if on_variable(left) => {
                date(right).map(|end| Self::NotAfter(Timestamp::from_unix(end)))
            }
            ("time", Kind::LessOrEqual) if on_variable(left) => {
                // Whole seconds: "at most t" is "before t + 1".
                date(right).map(|last| Self::NotAfter(Timestamp::from_unix(last).plus(1)))
            }
            _ => None,
        }
    }
}

fn check(fact: &str, term: Term, ops: Vec<Op>) -> Check {
    let expressions = if ops.is_empty() {
        Vec::new()
    } else {
        vec![Expression { ops }]
    };
    let no_terms: [Term; 0] = [];
    Check {
        queries: vec![Rule::new(
            pred("query", &no_terms),
            vec![pred(fact, &[term])],
            expressions,
            Vec::new(),
        )],
        kind: CheckKind::One,
    }
}

/// A binary operation on two plain terms, in the postfix order of Biscuit.
struct BinaryOp<'a> {
    left: &'a schema::term::Content,
    right: &'a schema::term::Content,
    kind: schema::op_binary::Kind,
}

impl<'a> BinaryOp<'a> {
    fn read(ops: &'a [schema::Op]) -> Option<Self> {
        use schema::op::Content;
        let [left, right, op] = ops else { return None };
        match (&left.content, &right.content, &op.content) {
            (
                Some(Content::Value(left)),
                Some(Content::Value(right)),
                Some(Content::Binary(op)),
            ) => Some(Self {
                left: left.content.as_ref()?,
                right: right.content.as_ref()?,
                kind: match op.ffi_name {
                    None => schema::op_binary::Kind::from_i32(op.kind)?,
                    Some(_) => return None,
                },
            }),
            _ => None,
        }
    }
}

fn text<'s>(term: &schema::term::Content, symbols: &'s Symbols) -> Option<&'s str> {
    match term {
        schema::term::Content::String(id) => symbols.get(*id),
        _ => None,
    }
}

fn strings(term: &schema::term::Content, symbols: &Symbols) -> Option<BTreeSet<String>> {
    let schema::term::Content::Set(set) = term else {
        return None;
    };
    let member = |t: &schema::Term| text(t.content.as_ref()?, symbols).map(str::to_owned);
    set.set.iter().map(member).collect()
}

const fn date(term: &schema::term::Content) -> Option<u64> {
    match term {
        schema::term::Content::Date(seconds) => Some(*seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prefix_ends_at_a_segment() {
        let prefix = PathPrefix::new("/v1/devices/").unwrap();
        assert!(prefix.admits("/v1/devices") && prefix.admits("/v1/devices/7"));
        assert!(!prefix.admits("/v1/devices-admin") && !prefix.admits("/v1"));
        assert!(PathPrefix::new("/").unwrap().admits("/anything"));
        assert!(PathPrefix::new("/v1/devices").is_none());
        assert!(PathPrefix::new("v1/").is_none());
    }
}
