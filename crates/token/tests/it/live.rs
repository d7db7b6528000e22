//! What was allowed to a token once, and whether it still is.

use std::sync::Arc;

use hardtack_token::{Access, AttestationKey, Caveat, End, Ended, KeyRing, KeyState, attenuate};
use uuid::Uuid;

use crate::support::{BOUND, NOW, World, device};

/// A token of a grant below another, and the ids in it: of block 0, of both
/// grants and of the session.
fn verified(world: &mut World, caveats: &[Caveat]) -> (Arc<Access>, [Uuid; 4]) {
    let authority = world.authority("*");
    let parent = world.grant(&authority, device(1), "operator.write");
    let chain = world.grant(&parent, device(2), "operator.read");
    let token = world.session(&chain, vec![]);
    let token = match caveats {
        [] => token,
        caveats => attenuate(&token, caveats, &mut world.rng).unwrap(),
    };
    let access = world.verifier.verify(token.expose(), &world.catalog, NOW);
    let access = access.unwrap();
    let chain = access.chain();
    let ids = [
        chain.authority.uuid(),
        chain.first.id.uuid(),
        chain.leaf().id.uuid(),
        access.session().id.uuid(),
    ];
    (access, ids)
}

fn live(world: &World, access: &Access, seconds: u64) -> &'static str {
    let live = world.verifier.still_live(access, NOW.plus(seconds));
    live.map_or_else(|denial| denial.code(), |()| "ok")
}

#[test]
fn each_end_of_its_lineage_ends_it() {
    for (i, end, expected) in [
        (0, End::Revoked, "revoked"),
        (1, End::Revoked, "revoked"),
        (2, End::Revoked, "revoked"),
        (3, End::Revoked, "revoked"),
        (1, End::Retired, "ok"),
        (2, End::Retired, "retired"),
    ] {
        let mut world = World::new(31);
        let (access, ids) = verified(&mut world, &[]);
        assert_eq!(live(&world, &access, 0), "ok");
        let before = world.verifier.changes();
        world.revocations.add(&[Ended { id: ids[i], end }]);
        assert!(world.verifier.changes() > before);
        assert_eq!(live(&world, &access, 0), expected, "{i} {end:?}");
    }
}

#[test]
fn time_ends_it() {
    let mut world = World::new(32);
    let (access, _) = verified(&mut world, &[]);
    let (narrowed, _) = verified(&mut world, &[Caveat::NotAfter(NOW.plus(60))]);
    let before = world.verifier.changes();
    world.revocations.confirm(NOW.plus(60));
    assert_eq!(live(&world, &narrowed, 59), "ok");
    assert_eq!(live(&world, &narrowed, 60), "expired");
    assert_eq!(live(&world, &access, 60), "ok");
    assert!(!world.revocations.is_stale(NOW.plus(59 + BOUND)));
    assert!(world.revocations.is_stale(NOW.plus(60 + BOUND)));
    assert_eq!(live(&world, &access, 60 + BOUND), "revocations_stale");
    // A clock that was set back makes nothing fresh.
    assert!(world.revocations.is_stale(NOW.plus(60 - BOUND)));
    world.revocations.confirm(NOW.plus(900));
    assert_eq!(live(&world, &access, 900), "expired");
    assert_eq!(world.verifier.changes(), before);
}

#[test]
fn it_lives_as_long_as_the_keys_that_it_was_verified_by() {
    use KeyState::{Active, Retired, Retiring};
    let mut world = World::new(33);
    let (access, _) = verified(&mut world, &[]);
    let root = (world.root.id(), world.root.public().unwrap());
    let key = world.key.public().unwrap();
    let other = AttestationKey::from_secret(&[9; 32]).unwrap();
    let other = other.public().unwrap();
    for (root, root_state, key, state, expected) in [
        (root, Retiring, key, Retiring, "ok"),
        (root, Retired, key, Active, "unknown_key"),
        (root, Active, key, Retired, "unknown_key"),
        (root, Active, other, Active, "unknown_key"),
        // Another key by the same id.
        ((root.0, other), Active, key, Active, "unknown_key"),
        (root, Active, key, Active, "ok"),
    ] {
        let before = world.verifier.changes();
        let ring = KeyRing::new()
            .with_root(root.0, root.1, root_state)
            .with_attestation(key, state);
        world.verifier.set_keys(ring);
        assert!(world.verifier.changes() > before);
        assert_eq!(live(&world, &access, 0), expected);
    }
}
