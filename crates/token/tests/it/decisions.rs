//! Each reason to refuse a request with a genuine access token: revocation,
//! time, holder, audience, caveats and scopes; and that a token which was
//! accepted a moment ago is asked all of it again.

use std::sync::Arc;

use hardtack_token::{
    AttestationKey, Catalog, Caveat, End, Ended, Grant, KeyRing, KeyState, Request, Requirement,
    Revocations, RootKeyId, Timestamp, TokenText, Verifier, attenuate,
};
use uuid::Uuid;

use crate::forge::hold;
use crate::support::{
    BOUND, GATEWAY, NOW, World, below, claims, device, get, operator_catalog, set, strings,
};

fn decide_at(world: &World, token: &TokenText, now: Timestamp) -> &'static str {
    world.revocations.confirm(now);
    let request = Request {
        now,
        ..get("/api/x")
    };
    world.decide_request(token, &request, &[])
}

/// The ids of a token by which it can be revoked: A, each G, S.
fn lineage(token: &TokenText) -> Vec<Uuid> {
    let said = claims(token);
    let grants = said.grants().map(|g| g.id.uuid());
    let session = said.session.iter().map(|s| s.id.uuid());
    let authority = std::iter::once(said.authority.uuid());
    authority.chain(grants).chain(session).collect()
}

#[test]
fn a_revocation_anywhere_in_the_lineage_ends_the_token() {
    // A, four G, S.
    for i in 0..6 {
        let mut world = World::new(1);
        let token = world.token(4);
        let code = r#"check if path($p), $p.starts_with("/api/");"#;
        let narrowed = hold(&mut world, &token, code);
        assert_eq!(world.decide(&token, "operator.read"), "ok");
        world.end(lineage(&token)[i], End::Revoked);
        for token in [token, narrowed] {
            let decision = world.decide(&token, "operator.read");
            assert_eq!(decision, "revoked", "block {i}");
        }
    }
}

#[test]
fn a_revocation_spares_what_is_beside_and_above() {
    let mut world = World::new(2);
    let parent = world.chain(1);
    let (one, two) = (
        world.grant(&parent, device(2), "operator.read"),
        world.grant(&parent, device(3), "operator.read"),
    );
    let [above, revoked, beside] = [&parent, &one, &two].map(|c| world.session(c, Vec::new()));
    let again = world.session(&one, Vec::new());
    world.end(one.profile().unwrap().leaf().id.uuid(), End::Revoked);
    world.end(*lineage(&above).last().unwrap(), End::Revoked);
    let fresh = world.session(&parent, Vec::new());
    for (what, token, expected) in [
        ("the grant", revoked, "revoked"),
        ("another session of the grant", again, "revoked"),
        ("the grant beside it", beside, "ok"),
        ("the grant above it, in a revoked session", above, "revoked"),
        ("the grant above it, in a new session", fresh, "ok"),
    ] {
        assert_eq!(world.decide(&token, "operator.read"), expected, "{what}");
    }
}

#[test]
fn a_retirement_ends_the_leaf_and_nothing_below_it() {
    // A, three G, S.
    for (i, expected) in ["ok", "ok", "ok", "retired", "ok"].into_iter().enumerate() {
        let mut world = World::new(3);
        let token = world.token(3);
        world.end(lineage(&token)[i], End::Retired);
        assert_eq!(world.decide(&token, "operator.read"), expected, "block {i}");
    }
}

#[test]
fn a_retirement_never_hides_a_revocation() {
    type Feed = fn(&Revocations, Ended, Ended);
    let feeds: [(&str, Feed); 6] = [
        ("revoked later", |set, retired, revoked| {
            set.add(&[retired]);
            set.add(&[revoked]);
        }),
        ("retired later", |set, retired, revoked| {
            set.add(&[revoked]);
            set.add(&[retired]);
        }),
        ("in one set", |set, retired, revoked| {
            set.replace(&[retired, revoked]);
        }),
        ("in one set, revoked first", |set, retired, revoked| {
            set.replace(&[revoked, retired]);
        }),
        ("a set and then more", |set, retired, revoked| {
            set.replace(&[revoked]);
            set.add(&[retired]);
        }),
        ("a set that was read before", |set, retired, revoked| {
            set.add(&[revoked]);
            set.replace(&[retired]);
        }),
    ];
    for (what, feed) in feeds {
        // A, two G, S: the grant above and the leaf.
        for block in [1, 2] {
            let mut world = World::new(13);
            let token = world.token(2);
            let id = lineage(&token)[block];
            let [retired, revoked] = [End::Retired, End::Revoked].map(|end| Ended { id, end });
            feed(&world.revocations, retired, revoked);
            let decision = world.decide(&token, "operator.read");
            assert_eq!(decision, "revoked", "block {block}, {what}");
        }
    }
}

#[test]
fn a_set_of_revocations_that_is_too_old_decides_nothing() {
    let mut world = World::new(4);
    let token = world.token(1);
    for (as_of, expected) in [
        (NOW, "ok"),
        (NOW.minus(BOUND - 1), "ok"),
        (NOW.minus(BOUND), "revocations_stale"),
        // The clock was set back since.
        (NOW.plus(BOUND - 1), "ok"),
        (NOW.plus(BOUND), "revocations_stale"),
        (Timestamp::from_unix(0), "revocations_stale"),
        (Timestamp::MAX, "revocations_stale"),
    ] {
        world.revocations.confirm(as_of);
        assert_eq!(
            world.decide(&token, "operator.read"),
            expected,
            "as of {as_of}"
        );
    }
}

#[test]
fn a_set_of_revocations_that_was_never_read_decides_nothing() {
    let mut world = World::new(5);
    let token = world.token(1);
    let keys = KeyRing::clone(&world.verifier.keys());
    world.verifier = Verifier::new(keys, Arc::new(Revocations::new(BOUND)), 1 << 20);
    assert_eq!(world.decide(&token, "operator.read"), "revocations_stale");
}

#[test]
fn a_token_ends_exactly_at_the_earliest_end_of_its_blocks() {
    let mut world = World::new(6);
    let dated = |world: &mut World, end| Grant {
        not_after: end,
        ..world.plain_grant(device(1), "operator.read")
    };
    let end = NOW.plus(60);
    for (what, first, leaf, session, holder) in [
        ("the first grant", Some(end), None, None, None),
        ("the last grant", None, Some(end), None, None),
        ("the session", None, None, Some(()), None),
        ("the holder", None, None, None, Some("<")),
        ("the holder's last moment", None, None, None, Some("<=")),
    ] {
        let mut chain = world.authority("*");
        for grant_end in [first, leaf] {
            let grant = dated(&mut world, grant_end);
            chain = world.append(&chain, &grant);
        }
        let mut token = world.session(&chain, Vec::new());
        if let Some(than) = holder {
            let last = if than == "<" { end } else { end.minus(1) };
            token = hold(
                &mut world,
                &token,
                &format!("check if time($any), $any {than} {last};"),
            );
        }
        let end = if session.is_some() {
            NOW.plus(900)
        } else {
            end
        };
        assert_eq!(decide_at(&world, &token, end.minus(1)), "ok", "{what}");
        assert_eq!(decide_at(&world, &token, end), "expired", "{what}");
        assert_eq!(
            decide_at(&world, &token, Timestamp::MAX),
            "expired",
            "{what}"
        );
    }
}

#[test]
fn a_bound_token_needs_proof_of_its_very_key() {
    let mut world = World::new(7);
    let chain = world.chain(1);
    let bound = world.session(&chain, vec![Caveat::Holder(device(1))]);
    let plain = world.session(&chain, Vec::new());
    let bound_later = attenuate(&plain, &[Caveat::Holder(device(1))], &mut world.rng).unwrap();
    let twice = attenuate(&bound, &[Caveat::Holder(device(2))], &mut world.rng).unwrap();
    for (what, token, proven, expected) in [
        ("no proof", &bound, None, "wrong_holder"),
        ("another device's", &bound, Some(2), "wrong_holder"),
        ("its own", &bound, Some(1), "ok"),
        ("bound later, no proof", &bound_later, None, "wrong_holder"),
        ("bound later, its own", &bound_later, Some(1), "ok"),
        ("bound twice, the first", &twice, Some(1), "wrong_holder"),
        ("bound twice, the second", &twice, Some(2), "wrong_holder"),
        ("unbound, with a proof", &plain, Some(2), "ok"),
    ] {
        let holder = proven.map(device);
        let request = Request {
            holder,
            ..get("/api/x")
        };
        assert_eq!(
            world.decide_request(token, &request, &[]),
            expected,
            "{what}"
        );
    }
}

#[test]
fn a_caveat_that_the_request_does_not_meet_is_named() {
    let mut world = World::new(8);
    let chain = world.chain(1);
    let read = set("operator.read");
    let request = Request {
        operation: Some("list"),
        ..get("/api/x")
    };
    for (caveat, expected) in [
        (Caveat::Audience(strings(&[GATEWAY, "http://b"])), "ok"),
        (Caveat::Audience(strings(&["http://b"])), "wrong_audience"),
        (Caveat::Audience(strings(&[])), "wrong_audience"),
        (Caveat::Method(strings(&["GET", "HEAD"])), "ok"),
        (Caveat::Method(strings(&["get", "POST"])), "caveat_method"),
        (Caveat::Method(strings(&[])), "caveat_method"),
        (below("/api/"), "ok"),
        (below("/other/"), "caveat_path"),
        (Caveat::Operation(strings(&["list"])), "ok"),
        (Caveat::Operation(strings(&["listen"])), "caveat_operation"),
        (Caveat::Scopes(read), "ok"),
        (
            Caveat::Scopes(set("operator.pairing")),
            "insufficient_scope",
        ),
        (Caveat::Scopes(set("")), "insufficient_scope"),
    ] {
        let token = world.session(&chain, Vec::new());
        let token = attenuate(&token, std::slice::from_ref(&caveat), &mut world.rng).unwrap();
        let required = [world.requirement("operator.read")];
        let decision = world.decide_request(&token, &request, &required);
        assert_eq!(decision, expected, "{caveat:?}");
    }
    let token = world.session(&chain, Vec::new());
    let elsewhere = Request {
        audience: "http://b",
        ..request
    };
    assert_eq!(
        world.decide_request(&token, &elsewhere, &[]),
        "wrong_audience"
    );
}

#[test]
fn a_fact_that_is_not_stated_fails_the_caveat_on_it() {
    let mut world = World::new(9);
    let chain = world.chain(1);
    let frame = Request {
        method: None,
        path: None,
        operation: Some("list"),
        ..get("/")
    };
    for (caveat, request, expected) in [
        (Caveat::Method(strings(&["GET"])), frame, "caveat_method"),
        (below("/"), frame, "caveat_path"),
        (Caveat::Operation(strings(&["list"])), frame, "ok"),
        (
            Caveat::Operation(strings(&["list"])),
            get("/api/x"),
            "caveat_operation",
        ),
    ] {
        let token = world.session(&chain, vec![caveat.clone()]);
        assert_eq!(
            world.decide_request(&token, &request, &[]),
            expected,
            "{caveat:?}"
        );
    }
}

/// A world in which a token was accepted, so that it is in the cache.
fn warm(seed: u64) -> (World, TokenText, Vec<Requirement>) {
    let mut world = World::new(seed);
    let token = world.token(2);
    let required = vec![world.requirement("operator.read")];
    let access = |world: &World| world.verifier.verify(token.expose(), &world.catalog, NOW);
    assert_eq!(world.decide(&token, "operator.read"), "ok");
    // The same value twice: it does come from the cache.
    assert!(Arc::ptr_eq(
        &access(&world).unwrap(),
        &access(&world).unwrap()
    ));
    (world, token, required)
}

#[test]
fn a_cached_token_is_asked_everything_that_can_change() {
    let (world, token, required) = warm(10);
    let later = Request {
        now: NOW.plus(900),
        ..get("/api/x")
    };
    assert_eq!(
        world.decide_request(&token, &later, &required),
        "revocations_stale"
    );
    world.revocations.confirm(later.now);
    assert_eq!(world.decide_request(&token, &later, &required), "expired");
    world.revocations.confirm(NOW);
    let elsewhere = Request {
        audience: "http://b",
        ..get("/api/x")
    };
    assert_eq!(
        world.decide_request(&token, &elsewhere, &required),
        "wrong_audience"
    );
    assert_eq!(world.decide(&token, "operator.admin"), "insufficient_scope");
    world.end(lineage(&token)[2], End::Retired);
    assert_eq!(world.decide(&token, "operator.read"), "retired");
    world.end(lineage(&token)[0], End::Revoked);
    assert_eq!(world.decide(&token, "operator.read"), "revoked");
}

#[test]
fn a_cached_token_is_refused_once_a_key_of_it_is_retired() {
    use KeyState::{Active, Retired, Retiring};
    let (world, token, _) = warm(11);
    let root = world.root.public().unwrap();
    let key = world.key.public().unwrap();
    let new = AttestationKey::from_secret(&[9; 32])
        .unwrap()
        .public()
        .unwrap();
    for (root_state, key_state, expected) in [
        (Active, Retiring, "ok"),
        (Active, Retired, "unknown_key"),
        (Retiring, Active, "ok"),
        (Retired, Active, "unknown_key"),
        (Active, Active, "ok"),
    ] {
        let ring = KeyRing::new()
            .with_root(RootKeyId::new(1), root, root_state)
            .with_attestation(new, Active)
            .with_attestation(key, key_state);
        world.verifier.set_keys(ring);
        let what = format!("root {root_state:?}, attestation {key_state:?}");
        assert_eq!(world.decide(&token, "operator.read"), expected, "{what}");
    }
    world.verifier.set_keys(
        KeyRing::new()
            .with_root(RootKeyId::new(1), new, Active)
            .with_attestation(key, Active),
    );
    assert_eq!(world.decide(&token, "operator.read"), "bad_signature");
}

#[test]
fn a_cached_token_is_decided_anew_under_another_catalog() {
    let (mut world, token, old) = warm(12);
    // Without implications, and with another scope where `operator.read` stood.
    let mut other = Catalog::builder();
    for name in ["a", "b", "operator.read", "operator.write"] {
        other.scope(name.parse().unwrap(), "").unwrap();
    }
    world.catalog = Arc::new(other.build().unwrap());
    assert_eq!(world.decide(&token, "operator.read"), "insufficient_scope");
    assert_eq!(world.decide(&token, "operator.write"), "ok");
    // A requirement means nothing under another catalog than its own.
    let request = get("/api/x");
    assert_eq!(
        world.decide_request(&token, &request, &old),
        "insufficient_scope"
    );
    world.catalog = Arc::new(Catalog::builder().build().unwrap());
    assert_eq!(
        world.decide_request(&token, &request, &[]),
        "insufficient_scope"
    );
    world.catalog = operator_catalog();
    assert_eq!(world.decide(&token, "operator.read"), "ok");
}
