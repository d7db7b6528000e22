//! A model of containment held against the real authority: random pairings,
//! approvals, exchanges, service tokens, caveats, revocations and retirements.

use std::collections::BTreeSet;

use hardtack::authority::Error;
use hardtack::authority::approve::Narrowing;
use hardtack::authority::exchange::Wanted;
use hardtack_token::{Caveat, ScopeSet, TokenText, attenuate};
use proptest::prelude::*;
use rand::SeedableRng;

use super::services::{self, service};
use super::support::{Approver, Paired, World};
use crate::device::Device;

const SCOPES: [&str; 6] = [
    "operator.read",
    "operator.write",
    "operator.approvals",
    "operator.pairing",
    "operator.admin",
    "*",
];
const DEVICES: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    /// A device asks; somebody approves all of it or a part.
    Pair {
        device: usize,
        asked: Vec<usize>,
        by: By,
        given: Option<Vec<usize>>,
    },
    /// A device gets an access token, perhaps narrowed.
    Exchange {
        device: usize,
        scopes: Option<Vec<usize>>,
    },
    /// Whoever holds an access token narrows it offline.
    Narrow {
        token: usize,
        scopes: Vec<usize>,
    },
    /// A device issues a service token.
    Issue {
        device: usize,
        scopes: Vec<usize>,
    },
    /// A service gets a narrowed copy of its token, or of a narrowed one.
    Credentials {
        token: usize,
        scopes: Option<Vec<usize>>,
    },
    Revoke {
        device: usize,
    },
    Retire {
        device: usize,
    },
}

#[derive(Clone, Debug)]
enum By {
    Root,
    Local,
    Device(usize),
}

/// A grant as the model knows it.
struct Grant {
    gives: BTreeSet<&'static str>,
    parent: Option<usize>,
    revoked: bool,
    retired: bool,
}

/// An access token as the model knows it.
struct Token {
    text: TokenText,
    grant: usize,
    gives: BTreeSet<&'static str>,
    parent: Option<usize>,
    holder_blocks: usize,
    /// The name of the service, if it is a service's.
    service: Option<String>,
}

#[derive(Default)]
struct Model {
    grants: Vec<Grant>,
    tokens: Vec<Token>,
    /// For each device, its paired form and the number of its grant.
    devices: Vec<Option<(Paired, usize)>>,
}

impl Model {
    fn dead(&self, grant: usize) -> bool {
        let grant = &self.grants[grant];
        grant.revoked || grant.parent.is_some_and(|p| self.dead(p))
    }

    fn usable(&self, grant: usize) -> bool {
        !self.dead(grant) && !self.grants[grant].retired
    }

    fn depth(&self, grant: usize) -> usize {
        1 + self.grants[grant].parent.map_or(0, |p| self.depth(p))
    }
}

/// What the holder of these scopes has under the built-in policy.
fn closure(scopes: &[usize]) -> BTreeSet<&'static str> {
    let mut all = BTreeSet::new();
    for i in scopes {
        match SCOPES[*i] {
            "*" => all.extend(SCOPES),
            "operator.admin" => all.extend(&SCOPES[..5]),
            "operator.write" => all.extend(&SCOPES[..2]),
            other => drop(all.insert(other)),
        }
    }
    all
}

fn set(scopes: &[usize]) -> ScopeSet {
    scopes.iter().map(|i| SCOPES[*i].parse().unwrap()).collect()
}

fn some() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::btree_set(0..SCOPES.len(), 1..4).prop_map(|s| s.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    let by = prop_oneof![
        1 => Just(By::Root),
        2 => Just(By::Local),
        6 => (0..DEVICES).prop_map(By::Device),
    ];
    // Mostly generous asks, so that chains grow; narrowed to a part, or to
    // something else, which is refused.
    let much = prop::collection::btree_set(0..SCOPES.len(), 3..=SCOPES.len());
    let much = much.prop_map(|s| s.into_iter().collect::<Vec<_>>());
    let asked = prop_oneof![3 => much, 1 => some()];
    let part = |asked: Vec<usize>| {
        let count = asked.len();
        let part = prop::sample::subsequence(asked.clone(), 1..=count);
        let given = prop_oneof![
            4 => Just(None),
            4 => part.prop_map(Some),
            1 => some().prop_map(Some),
        ];
        (Just(asked), given)
    };
    let pair =
        (0..DEVICES, asked.prop_flat_map(part), by).prop_map(|(device, (asked, given), by)| {
            Step::Pair {
                device,
                asked,
                by,
                given,
            }
        });
    prop_oneof![
        6 => pair,
        4 => (0..DEVICES, prop::option::of(some()))
            .prop_map(|(device, scopes)| Step::Exchange { device, scopes }),
        2 => (0..20_usize, some()).prop_map(|(token, scopes)| Step::Narrow { token, scopes }),
        2 => (0..DEVICES, some()).prop_map(|(device, scopes)| Step::Issue { device, scopes }),
        2 => (0..20_usize, prop::option::of(some()))
            .prop_map(|(token, scopes)| Step::Credentials { token, scopes }),
        1 => (0..DEVICES).prop_map(|device| Step::Revoke { device }),
        1 => (0..DEVICES).prop_map(|device| Step::Retire { device }),
    ]
}

/// One step on the real authority and on the model, which must agree.
async fn play(world: &World, model: &mut Model, step: &Step) {
    match step {
        Step::Pair {
            device,
            asked,
            by,
            given,
        } => pair(world, model, *device, asked, by, given.as_deref()).await,
        Step::Exchange { device, scopes } => {
            exchange(world, model, *device, scopes.as_deref()).await;
        }
        Step::Narrow { token, scopes } => narrow(model, *token, scopes),
        Step::Issue { device, scopes } => issue(world, model, *device, scopes).await,
        Step::Credentials { token, scopes } => {
            credentials(world, model, *token, scopes.as_deref()).await;
        }
        Step::Revoke { device } => {
            if let Some((paired, _)) = &model.devices[*device] {
                world.end("revoke", &paired.device).await.unwrap();
                let id = paired.device.id();
                // Every grant the device ever had.
                for (i, owner) in world_grants(model) {
                    if owner == id {
                        model.grants[i].revoked = true;
                    }
                }
            }
        }
        Step::Retire { device } => {
            if let Some((paired, grant)) = &model.devices[*device] {
                let grant = *grant;
                world.end("retire", &paired.device).await.unwrap();
                model.grants[grant].retired = true;
            }
        }
    }
}

fn world_grants(model: &Model) -> Vec<(usize, hardtack_token::DeviceId)> {
    let owners = OWNERS.with_borrow(Clone::clone);
    (0..model.grants.len()).map(|i| (i, owners[i])).collect()
}

thread_local! {
    static OWNERS: std::cell::RefCell<Vec<hardtack_token::DeviceId>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

async fn pair(
    world: &World,
    model: &mut Model,
    number: usize,
    asked: &[usize],
    by: &By,
    given: Option<&[usize]>,
) {
    let device = Device::new(number as u64);
    let view = world.ask(&device, &set(asked).to_string()).await.unwrap();
    let wanted = closure(asked);
    let current = model.devices[number].as_ref().map(|(_, grant)| *grant);
    let holds =
        current.is_some_and(|g| model.usable(g) && model.grants[g].gives.is_superset(&wanted));
    assert_eq!(
        view.grant.is_some(),
        holds,
        "a device that holds it gets it"
    );
    if holds {
        return;
    }
    // A request that waits stands for a narrower ask too, and does not change.
    let id = view.request.id;
    let shown: Vec<usize> = (0..SCOPES.len())
        .filter(|i| {
            view.request
                .ask
                .scopes
                .contains(&SCOPES[*i].parse().unwrap())
        })
        .collect();
    let wanted = closure(&shown);
    let part = given.unwrap_or(&shown);
    let narrowing = Narrowing {
        scopes: given.map(set),
        ..Narrowing::default()
    };
    let (result, allowed, parent) = match by {
        By::Root => (
            world.approve(Approver::Root, id, &narrowing).await,
            true,
            None,
        ),
        By::Local => {
            let local = &world.local;
            let done = world.approve(Approver::Device(local), id, &narrowing);
            (done.await, true, Some(0))
        }
        By::Device(n) => {
            let Some((approver, grant)) = model.devices[*n].clone() else {
                return;
            };
            let done = world.approve(Approver::Device(&approver), id, &narrowing);
            let held = &model.grants[grant].gives;
            let allowed = model.usable(grant)
                && held.contains("operator.pairing")
                && held.is_superset(&closure(part))
                && model.depth(grant) < 4;
            (done.await, allowed, Some(grant))
        }
    };
    let within = wanted.is_superset(&closure(part));
    match result {
        Ok(_) => assert!(allowed && within, "approved too much"),
        Err(error) => {
            assert!(!(allowed && within), "refused: {error}");
            return;
        }
    }
    let mut effective = closure(part);
    if let Some(parent) = parent {
        // INVARIANT I1, from the side of the model.
        assert!(model.grants[parent].gives.is_superset(&effective));
        effective = &effective & &model.grants[parent].gives;
    }
    if let Some(previous) = current {
        model.grants[previous].retired = true;
    }
    model.grants.push(Grant {
        gives: effective,
        parent,
        revoked: false,
        retired: false,
    });
    OWNERS.with_borrow_mut(|owners| owners.push(device.id()));
    let grant = world.fetch_grant(&device).await.unwrap();
    let number_of_grant = model.grants.len() - 1;
    model.devices[number] = Some((Paired { device, grant }, number_of_grant));
}

async fn exchange(world: &World, model: &mut Model, device: usize, scopes: Option<&[usize]>) {
    let Some((paired, grant)) = model.devices[device].clone() else {
        return;
    };
    let wanted = Wanted {
        scopes: scopes.map(set),
        ..Wanted::default()
    };
    let asked = scopes.map(closure);
    let held = &model.grants[grant].gives;
    let within = asked.as_ref().is_none_or(|asked| held.is_superset(asked));
    match world.exchange(&paired, &wanted).await {
        Ok(issued) => {
            assert!(model.usable(grant) && within, "exchanged too much");
            let gives = asked.unwrap_or_else(|| held.clone());
            model.tokens.push(Token {
                text: issued.token,
                grant,
                gives,
                parent: None,
                holder_blocks: 0,
                service: None,
            });
        }
        Err(error) => {
            assert!(!(model.usable(grant) && within), "refused: {error}");
            let expected = matches!(error, Error::Denied(_) | Error::InvalidScope(_));
            assert!(expected, "{error}");
        }
    }
}

async fn issue(world: &World, model: &mut Model, device: usize, scopes: &[usize]) {
    let Some((paired, parent)) = model.devices[device].clone() else {
        return;
    };
    let name = format!("service-{}", model.grants.len());
    let gives = closure(scopes);
    let held = &model.grants[parent].gives;
    let allowed = model.usable(parent)
        && held.contains("operator.pairing")
        && held.is_superset(&gives)
        && model.depth(parent) < 4;
    let new = service(&name, &set(scopes).to_string());
    match services::issue(world, &paired, &new).await {
        Ok(issued) => {
            assert!(allowed, "issued too much");
            // It is nobody's device: only what is above it ends it.
            OWNERS.with_borrow_mut(|owners| owners.push(Device::new(u64::MAX).id()));
            model.grants.push(Grant {
                gives: gives.clone(),
                parent: Some(parent),
                revoked: false,
                retired: false,
            });
            model.tokens.push(Token {
                text: issued.token,
                grant: model.grants.len() - 1,
                gives,
                parent: None,
                holder_blocks: 0,
                service: Some(name),
            });
        }
        Err(error) => assert!(!allowed, "refused: {error}"),
    }
}

async fn credentials(world: &World, model: &mut Model, token: usize, scopes: Option<&[usize]>) {
    let all = model.tokens.iter().enumerate();
    let own: Vec<usize> = all
        .filter(|(_, t)| t.service.is_some())
        .map(|(i, _)| i)
        .collect();
    if own.is_empty() {
        return;
    }
    let parent = own[token % own.len()];
    let before = &model.tokens[parent];
    let asked = scopes.map(closure);
    let allowed = !model.dead(before.grant)
        && before.holder_blocks < 2
        && asked
            .as_ref()
            .is_none_or(|asked| before.gives.is_superset(asked));
    let wanted = Wanted {
        scopes: scopes.map(set),
        ..Wanted::default()
    };
    let name = before.service.clone();
    let given = services::credentials(world, name.as_deref().unwrap(), &before.text, &wanted);
    match given.await {
        Ok(issued) => {
            assert!(allowed, "gave too much");
            let next = Token {
                text: issued.token,
                grant: before.grant,
                gives: asked.unwrap_or_else(|| before.gives.clone()),
                parent: Some(parent),
                holder_blocks: before.holder_blocks + 1,
                service: name,
            };
            model.tokens.push(next);
        }
        Err(error) => assert!(!allowed, "refused: {error}"),
    }
}

fn narrow(model: &mut Model, token: usize, scopes: &[usize]) {
    if model.tokens.is_empty() {
        return;
    }
    let parent = token % model.tokens.len();
    let before = &model.tokens[parent];
    if before.holder_blocks == 2 {
        return;
    }
    let mut rng = rand::rngs::StdRng::seed_from_u64(token as u64);
    let text = attenuate(&before.text, &[Caveat::Scopes(set(scopes))], &mut rng).unwrap();
    let next = Token {
        text,
        grant: before.grant,
        gives: &closure(scopes) & &before.gives,
        parent: Some(parent),
        holder_blocks: before.holder_blocks + 1,
        service: before.service.clone(),
    };
    model.tokens.push(next);
}

/// Every token allows exactly what the model says, and never more than what it
/// was narrowed from or the grant it came from.
fn check(world: &World, model: &Model) {
    for token in &model.tokens {
        for scope in SCOPES {
            let decided = world.decide(&token.text, scope);
            let expected = if model.dead(token.grant) {
                "revoked"
            } else if model.grants[token.grant].retired {
                "retired"
            } else if token.gives.contains(scope) {
                "ok"
            } else {
                "insufficient_scope"
            };
            assert_eq!(decided, expected, "{scope}");
            if let (Some(parent), "ok") = (token.parent, decided) {
                assert_eq!(world.decide(&model.tokens[parent].text, scope), "ok");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_token_ever_allows_more_than_its_parent(
        steps in prop::collection::vec(step(), 20..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut model = Model {
                devices: vec![None; DEVICES],
                ..Model::default()
            };
            OWNERS.with_borrow_mut(|owners| *owners = vec![world.local.device.id()]);
            model.grants.push(Grant {
                gives: SCOPES.into_iter().collect(),
                parent: None,
                revoked: false,
                retired: false,
            });
            for step in &steps {
                play(&world, &mut model, step).await;
                check(&world, &model);
            }
        });
    }
}
