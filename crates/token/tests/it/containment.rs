//! I1: no token allows what the one it was made from does not, whatever is
//! appended, whatever the catalog implies, whatever is asked.

use std::cell::Cell;

use hardtack_token::{
    AuthorityId, Caveat, Chain, ChainError, Denial, MAX_GRANTS, NewSession, SessionId, TokenText,
    attenuate,
};
use proptest::prelude::*;

use crate::forge::{sealed, text};
use crate::oracle::{Plan, Spec, ask, at, catalog_plan, plan, request, scope_set};
use crate::support::{GATEWAY, NOW, World, device, runner, set};

/// The access tokens of a plan, each made from the one before: a grant more, a
/// session's caveat more, a holder's block more. All are activated alike.
fn descent(world: &mut World, plan: &Plan) -> Vec<TokenText> {
    let id = AuthorityId::from_uuid(world.uuid());
    let scopes = scope_set(&plan.authority);
    let minted = world.root.mint_authority(id, &scopes, &mut world.rng);
    let mut chain = minted.unwrap();
    let mut tokens = Vec::new();
    for (scopes, end) in &plan.grants {
        let mut grant = world.plain_grant(device(1), "");
        grant.scopes = scope_set(scopes);
        grant.not_after = end.map(at);
        chain = world.append(&chain, &grant);
        tokens.push(activated(world, &chain, plan, &[]));
    }
    for caveats in 1..=plan.session.len() {
        tokens.push(activated(world, &chain, plan, &plan.session[..caveats]));
    }
    for block in &plan.holder {
        let caveats: Vec<_> = block.iter().map(Spec::caveat).collect();
        let narrowed = attenuate(tokens.last().unwrap(), &caveats, &mut world.rng);
        tokens.push(narrowed.unwrap());
    }
    tokens
}

fn activated(world: &mut World, chain: &Chain, plan: &Plan, caveats: &[Spec]) -> TokenText {
    let session = NewSession {
        id: SessionId::from_uuid(world.uuid()),
        audience: GATEWAY.to_owned(),
        not_after: at(plan.session_end),
        caveats: caveats.iter().map(Spec::caveat).collect(),
    };
    let token = chain.append_session(&session, &world.key, &mut world.rng);
    token.unwrap()
}

#[test]
fn a_child_allows_nothing_that_its_parent_does_not() {
    let inputs = (
        plan(),
        catalog_plan(),
        prop::collection::vec(ask(), 8),
        any::<u64>(),
    );
    let (allowed, narrowed) = (Cell::new(0), Cell::new(0));
    let outcome = runner(300).run(&inputs, |(plan, catalog, asks, seed)| {
        let mut world = World::new(seed);
        world.catalog = catalog.build();
        let tokens = descent(&mut world, &plan);
        let minted = world.catalog.closure(&scope_set(&plan.authority));
        let minted = world.catalog.names(&minted).to_strings();
        for ask in &asks {
            let request = request(ask);
            world.revocations.confirm(request.now);
            let mut parent = [&minted[..], &["none".to_owned()]].concat();
            for (i, token) in tokens.iter().enumerate() {
                let child = world.allowed(token, &request);
                let widened = child.iter().find(|scope| !parent.contains(scope));
                prop_assert_eq!(widened, None, "token {} of {:?} {:?}", i, plan, ask);
                allowed.set(allowed.get() + child.len());
                narrowed.set(narrowed.get() + parent.len() - child.len());
                parent = child;
            }
        }
        Ok(())
    });
    outcome.unwrap();
    // The property holds of nothing if nothing was allowed, or all was.
    assert!(allowed.get() > 1000 && narrowed.get() > 1000);
}

#[test]
fn a_child_says_of_itself_no_more_than_its_parent() {
    let inputs = (plan(), catalog_plan(), any::<u64>());
    let outcome = runner(200).run(&inputs, |(plan, catalog, seed)| {
        let mut world = World::new(seed);
        world.catalog = catalog.build();
        let tokens = descent(&mut world, &plan);
        let read = |t: &TokenText| world.verifier.verify(t.expose(), &world.catalog, NOW);
        let accesses: Vec<_> = tokens.iter().map(|t| read(t).unwrap()).collect();
        for pair in accesses.windows(2) {
            let (parent, child) = (&pair[0], &pair[1]);
            prop_assert!(parent.scope_bits().covers(child.scope_bits()));
            prop_assert!(child.expires_at() <= parent.expires_at());
            prop_assert!(child.bound_to_holder() || !parent.bound_to_holder());
            let (wide, narrow) = (parent.effective_scopes(), child.effective_scopes());
            prop_assert!(narrow.iter().all(|scope| wide.contains(scope)));
            let own_words = world.catalog.closure(&child.scopes());
            prop_assert_eq!(&own_words, child.scope_bits());
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_fifth_grant_is_refused() {
    let mut world = World::new(1);
    let full = world.chain(MAX_GRANTS);
    assert_eq!(full.profile().unwrap().depth(), 4);
    let fifth = world.plain_grant(device(1), "operator.read");
    let refused = full.append_grant(&fifth, &world.key, &mut world.rng);
    assert!(matches!(refused, Err(ChainError::TooLong)), "{refused:?}");
    // The fourth is no dead end: it has room for a session and two blocks.
    let mut token = world.session(&full, vec![Caveat::Holder(device(1))]);
    for _ in 0..2 {
        let caveat = Caveat::Scopes(set("operator.read"));
        token = attenuate(&token, &[caveat], &mut world.rng).unwrap();
    }
    let third = attenuate(&token, &[], &mut world.rng);
    assert!(matches!(third, Err(ChainError::Stored(_))), "{third:?}");
}

#[test]
fn a_grant_that_leaves_no_room_for_a_session_is_refused() {
    let mut world = World::new(2);
    let chain = world.authority("*");
    let names: Vec<String> = (0..60).map(|i| format!("{}.{i}", "s".repeat(60))).collect();
    let wide = world.plain_grant(device(1), &names.join(" "));
    let refused = chain.append_grant(&wide, &world.key, &mut world.rng);
    assert!(matches!(refused, Err(ChainError::TooLong)), "{refused:?}");
    let fitting = world.plain_grant(device(1), &names[..20].join(" "));
    assert!(
        chain
            .append_grant(&fitting, &world.key, &mut world.rng)
            .is_ok()
    );
}

#[test]
fn only_an_open_access_token_is_narrowed_offline() {
    let mut world = World::new(3);
    let chain = world.chain(1);
    let access = world.session(&chain, Vec::new());
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    let mut narrow = |token: &TokenText| attenuate(token, &[], &mut world.rng);
    assert!(narrow(&access).is_ok());
    assert!(matches!(
        narrow(&sealed(&access)),
        Err(ChainError::Build(_))
    ));
    for (what, token, expected) in [
        ("a grant", chain.seal().unwrap(), Denial::GrantNotAccepted),
        (
            "an open chain",
            text(chain.to_stored()),
            Denial::GrantNotAccepted,
        ),
        (
            "the root token",
            root.text().clone(),
            Denial::RootTokenNotAccepted,
        ),
    ] {
        let Err(ChainError::Stored(denial)) = narrow(&token) else {
            panic!("{what} was narrowed");
        };
        assert_eq!(denial, expected, "{what}");
    }
}
