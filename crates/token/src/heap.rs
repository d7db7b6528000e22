//! What a verified token takes in memory, so that the cache can count it.
//!
//! INVARIANT: never less than it is. A few hundred bytes of checks can name one
//! long symbol each, and what they say takes much more room than the token.

use std::collections::BTreeSet;

use crate::caveat::{Caveat, PathPrefix};
use crate::profile::{ChainProfile, Grant, Session, Subject};
use crate::scope::{Scope, ScopeSet};

/// The most elements of one node of a `BTreeSet`, and the least of any but the first.
const NODE_MOST: usize = 11;
const NODE_LEAST: usize = 5;

/// The bytes of a chain, the chain itself included.
pub(crate) fn of_chain(chain: &ChainProfile) -> usize {
    let ChainProfile {
        authority: _,
        scopes,
        first,
        rest,
        session,
        holder,
    } = chain;
    let rest_names = rest.iter().map(of_grant).sum::<usize>();
    let holder_caveats = holder.iter().map(of_caveats);
    size_of::<ChainProfile>()
        + of_scopes(scopes)
        + of_grant(first)
        + size_of_val::<[Grant]>(rest)
        + rest_names
        + session.as_deref().map_or(0, of_session)
        + size_of_val::<[Vec<Caveat>]>(holder)
        + holder_caveats.sum::<usize>()
}

fn of_grant(grant: &Grant) -> usize {
    let subject = match &grant.subject {
        Subject::Device(_) => 0,
        Subject::Service(name) => name.as_str().len(),
    };
    subject + grant.role.as_str().len() + of_scopes(&grant.scopes)
}

fn of_session(session: &Session) -> usize {
    // With the two counts that it is shared by.
    2 * size_of::<usize>()
        + size_of::<Session>()
        + session.audience.capacity()
        + of_caveats(&session.caveats)
}

fn of_caveats(caveats: &Vec<Caveat>) -> usize {
    let names = caveats.iter().map(|caveat| match caveat {
        Caveat::Scopes(scopes) => of_scopes(scopes),
        Caveat::Audience(texts) | Caveat::Method(texts) | Caveat::Operation(texts) => {
            of_texts(texts)
        }
        Caveat::Path(prefix) => prefix.as_str().len(),
        Caveat::NotAfter(_) | Caveat::Holder(_) => 0,
    });
    caveats.capacity() * size_of::<Caveat>() + names.sum::<usize>()
}

fn of_scopes(scopes: &ScopeSet) -> usize {
    let names = scopes.iter().map(|scope| scope.as_str().len());
    scopes.len() * size_of::<Scope>() + names.sum::<usize>()
}

pub(crate) fn of_path(prefix: &PathPrefix) -> usize {
    size_of::<PathPrefix>() + prefix.as_str().len()
}

pub(crate) fn of_texts(texts: &BTreeSet<String>) -> usize {
    // Room for all elements, and the counts and the way up; from the second
    // node on there are nodes above with the ways down.
    let leaf = NODE_MOST * size_of::<String>() + 2 * size_of::<usize>();
    let inner = leaf + (NODE_MOST + 1) * size_of::<usize>();
    let nodes = match texts.len() {
        0 => 0,
        1..=NODE_MOST => leaf,
        more => (more / NODE_LEAST + 1) * inner,
    };
    nodes + texts.iter().map(String::capacity).sum::<usize>()
}
