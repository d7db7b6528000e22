//! The closed grammar `A G+ (S H*)?`, or the root token alone, read from blocks
//! before any of them is trusted and without running any Datalog.

use std::sync::Arc;

use biscuit_auth::format::schema;
use prost::Message;

use crate::bits::ScopeBits;
use crate::catalog::Catalog;
use crate::caveat::{ALLOWED, Caveat};
use crate::container::{Container, Payload, SignedBlock};
use crate::denial::Denial;
use crate::id::{AuthorityId, DeviceId, GrantId, Role, ServiceName, SessionId};
use crate::scope::{Scope, ScopeSet};
use crate::symbols::Symbols;
use crate::time::Timestamp;

/// The most grants in a chain.
pub const MAX_GRANTS: usize = 4;
/// The most holder's blocks on a session.
pub const MAX_HOLDER_BLOCKS: usize = 2;

/// What a token says, once it is known to be of the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// The root token, with the key id that its one fact names.
    Root(String),
    /// A chain of an authority block and grants, with or without a session.
    Chain(Box<ChainProfile>),
}

/// The content of a chain `A G+ (S H*)?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainProfile {
    /// The id of block 0.
    pub authority: AuthorityId,
    /// The scopes of block 0.
    pub scopes: ScopeSet,
    /// The first grant.
    pub first: Grant,
    /// The grants below it, outermost last.
    pub rest: Vec<Grant>,
    /// The session, in a token that was activated.
    pub session: Option<Arc<Session>>,
    /// The holder's blocks after the session.
    pub holder: Vec<Vec<Caveat>>,
}

/// The content of a grant block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The grant's id, by which it is revoked or retired.
    pub id: GrantId,
    /// Who it is for.
    pub subject: Subject,
    /// Its label.
    pub role: Role,
    /// The scopes caveat that every grant has.
    pub scopes: ScopeSet,
    /// The end of the grant and of all below it, if it is dated.
    pub not_after: Option<Timestamp>,
}

/// Who a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A device, by its key.
    Device(DeviceId),
    /// A machine without a key.
    Service(ServiceName),
}

/// The content of a session block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The grant that it claims to activate.
    pub grant: GrantId,
    /// Its own id, by which it is revoked.
    pub id: SessionId,
    /// The one origin it is for.
    pub audience: String,
    /// Its end.
    pub not_after: Timestamp,
    /// Its other caveats.
    pub caveats: Vec<Caveat>,
}

impl ChainProfile {
    /// The last grant: the one that the token speaks for.
    #[must_use]
    pub fn leaf(&self) -> &Grant {
        self.rest.last().unwrap_or(&self.first)
    }

    /// The grants from the first to the leaf.
    #[must_use]
    pub fn grants(&self) -> impl DoubleEndedIterator<Item = &Grant> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// The number of grants.
    #[must_use]
    pub fn depth(&self) -> usize {
        1 + self.rest.len()
    }

    /// The earliest end of any block; `None` if nothing is dated.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        let grants = self.grants().filter_map(|g| g.not_after);
        let session = self.session.as_deref().map(|s| s.not_after);
        let others = self.own_caveats().filter_map(|c| match c {
            Caveat::NotAfter(end) => Some(*end),
            Caveat::Scopes(_)
            | Caveat::Audience(_)
            | Caveat::Holder(_)
            | Caveat::Method(_)
            | Caveat::Path(_)
            | Caveat::Operation(_) => None,
        });
        grants.chain(session).chain(others).min()
    }

    /// What the chain gives under a catalog: what every block gives.
    #[must_use]
    pub fn effective(&self, catalog: &Catalog) -> ScopeBits {
        let mut bits = catalog.all_bits();
        for set in self.scope_sets() {
            bits.intersect(&catalog.closure(set));
        }
        bits
    }

    /// The effective scopes in the chain's own words.
    #[must_use]
    pub fn scopes_in(&self, catalog: &Catalog) -> ScopeSet {
        let named = self.named_scopes().cloned().collect();
        catalog.summary(&self.effective(catalog), &named)
    }

    /// Every scope that any block names.
    pub fn named_scopes(&self) -> impl Iterator<Item = &Scope> {
        self.scope_sets().flat_map(ScopeSet::iter)
    }

    /// The scope sets that narrow the token, one for each block that has one.
    pub(crate) fn scope_sets(&self) -> impl Iterator<Item = &ScopeSet> {
        let others = self.own_caveats().filter_map(|c| match c {
            Caveat::Scopes(set) => Some(set),
            Caveat::NotAfter(_)
            | Caveat::Audience(_)
            | Caveat::Holder(_)
            | Caveat::Method(_)
            | Caveat::Path(_)
            | Caveat::Operation(_) => None,
        });
        std::iter::once(&self.scopes)
            .chain(self.grants().map(|g| &g.scopes))
            .chain(others)
    }

    /// The caveats of the session's and the holder's blocks, but for the
    /// session's own audience and end.
    pub(crate) fn own_caveats(&self) -> impl Iterator<Item = &Caveat> {
        let session = self.session.as_deref().into_iter();
        let session = session.flat_map(|s| &s.caveats);
        session.chain(self.holder.iter().flatten())
    }
}

/// Reads the blocks of a container. Which keys attested is checked before this.
pub(crate) fn walk(container: &Container) -> Result<Profile, Denial> {
    let Some((first, rest)) = container.blocks.split_first() else {
        return Err(Denial::Malformed("it has no blocks"));
    };
    let mut shared = Symbols::default();
    let authority = Block::read(0, first, &mut shared)?;
    if let Some(key_id) = authority.root_fact() {
        return walk_root(key_id, &authority, container);
    }
    let (id, scopes) = authority.into_authority()?;

    let mut grants = Vec::new();
    let mut session = None;
    let mut holder = Vec::new();
    for (i, raw) in rest.iter().enumerate() {
        let i = i + 1;
        let block = Block::read(i, raw, &mut shared)?;
        match (block.attested, &session) {
            (true, None) if block.names_grant() => grants.push(block.into_grant()?),
            (true, None) if !grants.is_empty() => session = Some(block.into_session()?),
            (true, None) => return Err(block.outside("a grant must follow the authority block")),
            (true, Some(_)) => {
                return Err(block.outside("nothing attested may follow a session"));
            }
            (false, Some(_)) => holder.push(block.into_holder()?),
            (false, None) => {
                return Err(block.outside("a holder's block may follow a session only"));
            }
        }
    }
    check_counts(grants.len(), holder.len())?;
    let mut grants = grants.into_iter();
    let Some(first) = grants.next() else {
        return Err(Denial::outside(0, "an authority block alone is no token"));
    };
    Ok(Profile::Chain(Box::new(ChainProfile {
        authority: id,
        scopes,
        first,
        rest: grants.collect::<Box<[_]>>().into_vec(),
        session: session.map(Arc::new),
        holder: holder.into_boxed_slice().into_vec(),
    })))
}

/// Reads what a holder put on a session: the blocks from `at` on, of a token
/// whose authority block has these symbols.
pub(crate) fn walk_holder(
    blocks: &[SignedBlock],
    at: usize,
    mut shared: Symbols,
) -> Result<Vec<Vec<Caveat>>, Denial> {
    let mut holder = Vec::with_capacity(blocks.len());
    for (raw, i) in blocks.iter().zip(at..) {
        let block = Block::read(i, raw, &mut shared)?;
        if block.attested {
            return Err(block.outside("nothing attested may follow a session"));
        }
        holder.push(block.into_holder()?);
    }
    check_counts(0, holder.len())?;
    Ok(holder)
}

fn walk_root(key_id: String, block: &Block, container: &Container) -> Result<Profile, Denial> {
    if !block.checks.is_empty() || block.facts.len() != 1 {
        return Err(block.outside("the root token holds one fact and nothing else"));
    }
    if container.blocks.len() != 1 || !container.proof.is_sealed() {
        return Err(block.outside("the root token is one sealed block"));
    }
    Ok(Profile::Root(key_id))
}

fn check_counts(grants: usize, holder: usize) -> Result<(), Denial> {
    if grants > MAX_GRANTS {
        let why = format!("a chain has at most {MAX_GRANTS} grants");
        return Err(Denial::outside(MAX_GRANTS + 1, why));
    }
    if holder > MAX_HOLDER_BLOCKS {
        let why = format!("a session takes at most {MAX_HOLDER_BLOCKS} holder's blocks");
        return Err(Denial::outside(grants + 2 + MAX_HOLDER_BLOCKS, why));
    }
    Ok(())
}

/// One decoded block with its strings resolved.
struct Block {
    index: usize,
    attested: bool,
    facts: Vec<(String, Vec<String>)>,
    checks: Vec<Caveat>,
}

impl Block {
    fn read(index: usize, raw: &SignedBlock, shared: &mut Symbols) -> Result<Self, Denial> {
        let block = schema::Block::decode(raw.data.as_slice())
            .map_err(|_| Denial::Malformed("a block does not decode"))?;
        if block.encode_to_vec() != raw.data {
            return Err(Denial::Malformed("a block is not canonical"));
        }
        let outside = |why: &str| Err(Denial::outside(index, why));
        let Some(version @ 3..=5) = block.version else {
            return outside("its Datalog version is not 3, 4 or 5");
        };
        if block.context.is_some() || !block.scope.is_empty() || !block.public_keys.is_empty() {
            return outside("a context, a scope annotation or a key table is not allowed");
        }
        if !block.rules.is_empty() {
            return outside("rules are not allowed");
        }
        // SECURITY: an external signature binds a block to what precedes it
        // only under the second payload version.
        let attested = raw.external.is_some();
        if attested && (index == 0 || raw.payload != Payload::V1) {
            return outside("an attested block must be bound to the block before it");
        }
        // Third-party blocks came with Datalog 3.2: the stock crate reads none before it.
        if attested && version < 5 {
            return outside("an attested block's Datalog version is not 5");
        }

        let mut own = Symbols::default();
        let symbols = if attested { &mut own } else { shared };
        symbols.extend(index, block.symbols)?;
        let facts = block.facts.iter().map(|f| read_fact(&f.predicate, symbols));
        let facts = facts.collect::<Option<Vec<_>>>();
        let checks = block.checks.iter();
        let checks = checks.map(|c| Caveat::read(c, version, symbols));
        Ok(Self {
            index,
            attested,
            facts: facts
                .ok_or_else(|| Denial::outside(index, "facts hold strings and nothing else"))?,
            checks: checks
                .collect::<Result<_, _>>()
                .map_err(|why| Denial::outside(index, why))?,
        })
    }

    fn outside(&self, why: impl Into<String>) -> Denial {
        Denial::outside(self.index, why)
    }

    fn root_fact(&self) -> Option<String> {
        let found = self.facts.iter().find(|(name, _)| name == "root")?;
        match found.1.as_slice() {
            [id] => Some(id.clone()),
            _ => None,
        }
    }

    fn names_grant(&self) -> bool {
        self.facts.iter().any(|(name, _)| name == "grant")
    }

    fn into_authority(self) -> Result<(AuthorityId, ScopeSet), Denial> {
        const FORM: &str =
            "an authority block holds one `authority(\"<uuid>\")` and `scope(\"…\")` facts";
        if !self.checks.is_empty() {
            return Err(self.outside(format!("{FORM}, and no check")));
        }
        let mut id = None;
        let mut scopes = Vec::with_capacity(self.facts.len());
        for (name, terms) in &self.facts {
            match (name.as_str(), terms.as_slice()) {
                ("authority", [text]) if id.is_none() => match text.parse() {
                    Ok(parsed) => id = Some(parsed),
                    Err(_) => return Err(self.outside(FORM)),
                },
                ("scope", [text]) => match text.parse() {
                    Ok(scope) => scopes.push(scope),
                    Err(_) => return Err(self.outside("a scope's name is not a scope's name")),
                },
                _ => return Err(self.outside(FORM)),
            }
        }
        match id {
            Some(id) if !scopes.is_empty() => Ok((id, scopes.into_iter().collect())),
            _ => Err(self.outside(FORM)),
        }
    }

    fn into_grant(self) -> Result<Grant, Denial> {
        const FORM: &str = "a grant holds one `grant(\"<uuid>\")`, one `device` or `service`, one \
             `role`, one scopes check and at most one time check";
        let mut id = None;
        let mut subject = None;
        let mut role = None;
        for (name, terms) in &self.facts {
            let accepted = match (name.as_str(), terms.as_slice()) {
                ("grant", [text]) if id.is_none() => parse_into(&mut id, text),
                ("role", [text]) if role.is_none() => parse_into(&mut role, text),
                ("device", [text]) if subject.is_none() => {
                    subject = text.parse().ok().map(Subject::Device);
                    subject.is_some()
                }
                ("service", [text]) if subject.is_none() => {
                    subject = text.parse().ok().map(Subject::Service);
                    subject.is_some()
                }
                _ => false,
            };
            if !accepted {
                return Err(self.outside(FORM));
            }
        }
        let mut scopes = None;
        let mut not_after = None;
        for caveat in &self.checks {
            match caveat {
                Caveat::Scopes(set) if scopes.is_none() => scopes = Some(set.clone()),
                Caveat::NotAfter(end) if not_after.is_none() => not_after = Some(*end),
                other if other.allowed_in_grant() => return Err(self.outside(FORM)),
                _ => return Err(self.outside("a grant takes no other check than scopes and time")),
            }
        }
        match (id, subject, role, scopes) {
            (Some(id), Some(subject), Some(role), Some(scopes)) => Ok(Grant {
                id,
                subject,
                role,
                scopes,
                not_after,
            }),
            _ => Err(self.outside(FORM)),
        }
    }

    fn into_session(self) -> Result<Session, Denial> {
        const FORM: &str = "a session holds one `session(\"<grant>\", \"<session>\")`, one \
             audience check of one origin and one time check";
        let named = match self.facts.as_slice() {
            [(name, terms)] if name == "session" => match terms.as_slice() {
                [grant, session] => grant.parse().ok().zip(session.parse().ok()),
                _ => None,
            },
            _ => None,
        };
        let Some((grant, id)) = named else {
            return Err(self.outside(FORM));
        };
        let mut audience = None;
        let mut not_after = None;
        let mut caveats = Vec::new();
        for caveat in &self.checks {
            match caveat {
                Caveat::Audience(origins) => match (&audience, origins.first()) {
                    (None, Some(origin)) if origins.len() == 1 => audience = Some(origin.clone()),
                    _ => return Err(self.outside(FORM)),
                },
                Caveat::NotAfter(end) if not_after.is_none() => not_after = Some(*end),
                Caveat::NotAfter(_) => return Err(self.outside(FORM)),
                Caveat::Scopes(_)
                | Caveat::Holder(_)
                | Caveat::Method(_)
                | Caveat::Path(_)
                | Caveat::Operation(_) => caveats.push(caveat.clone()),
            }
        }
        match (audience, not_after) {
            (Some(audience), Some(not_after)) => Ok(Session {
                grant,
                id,
                audience,
                not_after,
                caveats: caveats.into_boxed_slice().into_vec(),
            }),
            _ => Err(self.outside(FORM)),
        }
    }

    fn into_holder(self) -> Result<Vec<Caveat>, Denial> {
        if self.facts.is_empty() {
            Ok(self.checks)
        } else {
            let why = format!("a holder's block takes checks only; allowed are {ALLOWED}");
            Err(self.outside(why))
        }
    }
}

fn read_fact(predicate: &schema::Predicate, symbols: &Symbols) -> Option<(String, Vec<String>)> {
    let name = symbols.get(predicate.name)?.to_owned();
    let term = |t: &schema::Term| match t.content.as_ref()? {
        schema::term::Content::String(id) => symbols.get(*id).map(str::to_owned),
        _ => None,
    };
    Some((
        name,
        predicate.terms.iter().map(term).collect::<Option<_>>()?,
    ))
}

/// Fills an empty slot from a text; false if the text is not of that type.
fn parse_into<T: std::str::FromStr>(slot: &mut Option<T>, text: &str) -> bool {
    *slot = text.parse().ok();
    slot.is_some()
}
