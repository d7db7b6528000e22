//! Native decision = Datalog decision, on random tokens, catalogs and requests.

use std::sync::Arc;

use hardtack_token::{
    AuthorityId, Catalog, Caveat, GrantId, Implied, NewSession, Request, Requirement, Scope,
    ScopeSet, SessionId, Timestamp, TokenText, attenuate,
};
use proptest::prelude::*;

use crate::support::{self, GATEWAY, NOW, Reference, World, below, device, strings};

/// Names that may be declared, and some that never are.
const NAMES: [&str; 8] = [
    "a.x",
    "a.y",
    "a.z",
    "b.x",
    "b.y",
    "ghost.one",
    "ghost.two",
    "*",
];
const DECLARABLE: usize = 5;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) authority: Vec<usize>,
    pub(crate) grants: Vec<(Vec<usize>, Option<i64>)>,
    pub(crate) foreign_session: bool,
    pub(crate) session_end: i64,
    pub(crate) session: Vec<Spec>,
    pub(crate) holder: Vec<Vec<Spec>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Spec {
    Scopes(Vec<usize>),
    NotAfter(i64),
    Audience(Vec<bool>),
    Holder(u8),
    Method(Vec<usize>),
    Path(usize),
    Operation(Vec<usize>),
}

#[derive(Clone, Debug)]
pub(crate) struct Ask {
    time: i64,
    here: bool,
    holder: Option<u8>,
    method: Option<usize>,
    path: Option<usize>,
    operation: Option<usize>,
    required: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(crate) struct CatalogPlan {
    declared: Vec<bool>,
    implies: Vec<(usize, usize)>,
    prefix: Option<usize>,
}

const METHODS: [&str; 3] = ["GET", "POST", "WEBSOCKET"];
const PATHS: [&str; 6] = [
    "/",
    "/v1",
    "/v1/",
    "/v1/devices",
    "/v1/devices-admin",
    "/v1/devices/7",
];
const PREFIXES: [&str; 3] = ["/", "/v1/", "/v1/devices/"];
const OPERATIONS: [&str; 2] = ["device.list", "device.pair"];

fn names() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..NAMES.len(), 0..5)
}

fn some_names() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..NAMES.len(), 1..6)
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(100_i64), 2 => -2..=2_i64]
}

pub(crate) fn spec() -> impl Strategy<Value = Spec> {
    prop_oneof![
        4 => names().prop_map(Spec::Scopes),
        1 => offset().prop_map(Spec::NotAfter),
        1 => prop::collection::vec(any::<bool>(), 0..3).prop_map(Spec::Audience),
        1 => (0..3_u8).prop_map(Spec::Holder),
        1 => prop::collection::vec(0..METHODS.len(), 0..3).prop_map(Spec::Method),
        1 => (0..PREFIXES.len()).prop_map(Spec::Path),
        1 => prop::collection::vec(0..OPERATIONS.len(), 0..3).prop_map(Spec::Operation),
    ]
}

/// A session takes one audience and one end, which the plan gives apart.
fn session_spec() -> impl Strategy<Value = Spec> {
    spec().prop_filter("one audience, one end", |s| {
        !matches!(s, Spec::Audience(_) | Spec::NotAfter(_))
    })
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    (
        some_names(),
        prop::collection::vec((some_names(), prop::option::weighted(0.2, offset())), 1..=4),
        prop::bool::weighted(0.05),
        offset(),
        prop::collection::vec(session_spec(), 0..3),
        prop::collection::vec(prop::collection::vec(spec(), 0..3), 0..=2),
    )
        .prop_map(
            |(authority, grants, foreign_session, session_end, session, holder)| Plan {
                authority,
                grants,
                foreign_session,
                session_end,
                session,
                holder,
            },
        )
}

pub(crate) fn ask() -> impl Strategy<Value = Ask> {
    (
        prop_oneof![8 => Just(0_i64), 2 => -3..=3_i64],
        prop::bool::weighted(0.95),
        prop::option::weighted(0.8, 0..3_u8),
        prop::option::weighted(0.9, 0..METHODS.len()),
        prop::option::weighted(0.9, 0..PATHS.len()),
        prop::option::weighted(0.7, 0..OPERATIONS.len()),
        prop::collection::vec(0..DECLARABLE + 1, 0..3),
    )
        .prop_map(
            |(time, here, holder, method, path, operation, required)| Ask {
                time,
                here,
                holder,
                method,
                path,
                operation,
                required,
            },
        )
}

pub(crate) fn catalog_plan() -> impl Strategy<Value = CatalogPlan> {
    (
        prop::collection::vec(prop::bool::weighted(0.8), DECLARABLE),
        prop::collection::vec((0..DECLARABLE, 0..DECLARABLE), 0..5),
        prop::option::of(0..DECLARABLE),
    )
        .prop_map(|(declared, implies, prefix)| CatalogPlan {
            declared,
            implies,
            prefix,
        })
}

pub(crate) fn at(offset: i64) -> Timestamp {
    Timestamp::from_unix(NOW.unix().checked_add_signed(offset).unwrap())
}

pub(crate) fn scope_set(picked: &[usize]) -> ScopeSet {
    picked.iter().map(|i| NAMES[*i].parse().unwrap()).collect()
}

fn pick(picked: &[usize], from: &[&str]) -> std::collections::BTreeSet<String> {
    picked.iter().map(|i| from[*i].to_owned()).collect()
}

impl Spec {
    pub(crate) fn caveat(&self) -> Caveat {
        match self {
            Self::Scopes(picked) => Caveat::Scopes(scope_set(picked)),
            Self::NotAfter(offset) => Caveat::NotAfter(at(*offset)),
            Self::Audience(picked) => {
                let origin = |here: &bool| if *here { GATEWAY } else { "http://other" };
                Caveat::Audience(strings(&picked.iter().map(origin).collect::<Vec<_>>()))
            }
            Self::Holder(n) => Caveat::Holder(device(*n)),
            Self::Method(picked) => Caveat::Method(pick(picked, &METHODS)),
            Self::Path(i) => below(PREFIXES[*i]),
            Self::Operation(picked) => Caveat::Operation(pick(picked, &OPERATIONS)),
        }
    }
}

impl CatalogPlan {
    pub(crate) fn build(&self) -> Arc<Catalog> {
        let declared = |i: usize| self.declared[i];
        let name = |i: usize| NAMES[i].parse::<Scope>().unwrap();
        let mut builder = Catalog::builder();
        for i in (0..DECLARABLE).filter(|i| declared(*i)) {
            builder.scope(name(i), "").unwrap();
        }
        for (from, to) in &self.implies {
            if declared(*from) && declared(*to) {
                builder.implies(name(*from), Implied::Scope(name(*to)));
            }
        }
        if let Some(i) = self.prefix.filter(|i| declared(*i)) {
            let prefix = NAMES[i].split('.').next().unwrap();
            builder.implies(name(i), Implied::Under(prefix.to_owned()));
        }
        Arc::new(builder.build().unwrap())
    }
}

/// A signed token of the plan, before its holder's blocks and after each of them.
pub(crate) fn build(world: &mut World, plan: &Plan) -> (GrantId, Vec<TokenText>) {
    let id = AuthorityId::from_uuid(world.uuid());
    let scopes = scope_set(&plan.authority);
    let mut chain = world
        .root
        .mint_authority(id, &scopes, &mut world.rng)
        .unwrap();
    let mut before = None;
    for (scopes, end) in &plan.grants {
        let mut grant = world.plain_grant(device(1), "");
        grant.scopes = scope_set(scopes);
        grant.not_after = end.map(at);
        before = Some(chain);
        chain = world.append(before.as_ref().unwrap(), &grant);
    }
    let leaf = chain.profile().unwrap().leaf().id;
    let session = NewSession {
        id: SessionId::from_uuid(world.uuid()),
        audience: GATEWAY.to_owned(),
        not_after: at(plan.session_end),
        caveats: plan.session.iter().map(Spec::caveat).collect(),
    };
    // A session that names the grant above the last one, where there is one.
    let activated = before.filter(|_| plan.foreign_session && plan.grants.len() > 1);
    let mut token = match activated {
        Some(above) => support::session_naming(world, &chain, &above, &session),
        None => chain
            .append_session(&session, &world.key, &mut world.rng)
            .unwrap(),
    };
    let mut tokens = vec![token.clone()];
    for block in &plan.holder {
        let caveats: Vec<_> = block.iter().map(Spec::caveat).collect();
        token = attenuate(&token, &caveats, &mut world.rng).unwrap();
        tokens.push(token.clone());
    }
    (leaf, tokens)
}

pub(crate) fn request(ask: &Ask) -> Request<'static> {
    Request {
        now: at(ask.time),
        audience: if ask.here { GATEWAY } else { "http://other" },
        holder: ask.holder.map(device),
        method: ask.method.map(|i| METHODS[i]),
        path: ask.path.map(|i| PATHS[i]),
        operation: ask.operation.map(|i| OPERATIONS[i]),
    }
}

pub(crate) fn required(ask: &Ask, catalog: &Catalog) -> Vec<Requirement> {
    let scope = |i: &usize| {
        if *i == DECLARABLE {
            Scope::all()
        } else {
            NAMES[*i].parse().unwrap()
        }
    };
    let asked = ask.required.iter().map(scope);
    asked.filter_map(|s| catalog.require(&s)).collect()
}

/// Chains, each of which is asked twenty times: a million decisions in
/// `scripts/test --long`.
fn chains() -> u32 {
    match std::env::var_os("HARDTACK_TEST_LONG") {
        Some(_) => 50_000,
        None => 500,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: chains(), ..ProptestConfig::default() })]

    #[test]
    fn the_native_decision_is_the_datalog_decision(
        plan in plan(),
        catalogs in prop::collection::vec(catalog_plan(), 2),
        asks in prop::collection::vec(ask(), 20),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(seed);
        let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
        let (leaf, tokens) = build(&mut world, &plan);
        let catalogs: Vec<_> = catalogs.iter().map(CatalogPlan::build).collect();
        let reference = |token| Reference::new(token, &root, &key);
        let references: Vec<_> = tokens.iter().map(reference).collect();
        // A standing clock for the set's age: time is a fact of the request here.
        for (i, ask) in asks.iter().enumerate() {
            let catalog = &catalogs[i % catalogs.len()];
            let request = request(ask);
            let required = required(ask, catalog);
            world.revocations.confirm(request.now);
            let mut wider = true;
            for (token, reference) in tokens.iter().zip(&references) {
                let native = world
                    .verifier
                    .authorize(token.expose(), catalog, &request, &required)
                    .is_ok();
                let datalog = reference
                    .as_ref()
                    .is_some_and(|r| r.allows(leaf, catalog, &request, &required));
                prop_assert_eq!(native, datalog, "{:?} {:?}", plan, ask);
                // Containment: a holder's block never allows what was refused before it.
                prop_assert!(wider || !native);
                wider = native;
            }
        }
    }
}
