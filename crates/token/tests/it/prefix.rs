//! A session that was verified once need not be again: what its holder adds is
//! verified alone, and nothing is decided otherwise for it.

use hardtack_token::{Caveat, End, KeyRing, KeyState, RootKeyId, TokenText, attenuate};

use crate::forge::{altered, bytes, text};
use crate::support::{NOW, World, claims, set};

/// A world that has seen a session, and a token that its holder narrowed.
fn warm(seed: u64) -> (World, TokenText, TokenText) {
    let mut world = World::new(seed);
    let session = world.token(2);
    assert_eq!(world.decide(&session, "operator.read"), "ok");
    let caveat = Caveat::Scopes(set("operator.read"));
    let narrowed = attenuate(&session, &[caveat], &mut world.rng).unwrap();
    (world, session, narrowed)
}

/// The narrowed token with the last bit of the signature of one block turned.
fn turned(token: &TokenText, block: usize) -> TokenText {
    altered(token, |raw| {
        let signature = match block {
            0 => &mut raw.authority.signature,
            i => &mut raw.blocks[i - 1].signature,
        };
        signature[63] ^= 1;
    })
}

#[test]
fn what_a_holder_adds_to_a_known_session_is_verified_all_the_same() {
    let (world, _, narrowed) = warm(1);
    let last = bytes(&narrowed).len();
    for block in 0..=4 {
        assert_eq!(
            world.decide(&turned(&narrowed, block), "operator.read"),
            "bad_signature"
        );
    }
    // The secret of another key as the proof.
    let mut raw = bytes(&narrowed);
    raw[last - 1] ^= 1;
    assert_eq!(world.decide(&text(&raw), "operator.read"), "bad_signature");
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    assert_eq!(
        world.decide(&narrowed, "operator.write"),
        "insufficient_scope"
    );
}

#[test]
fn a_known_session_is_verified_once() {
    let (world, _, narrowed) = warm(5);
    assert!(format!("{:?}", world.verifier).contains("1 prefixes used 0 times"));
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    // Now its text is known.
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    assert!(format!("{:?}", world.verifier).contains("1 prefixes used 1 times"));
}

#[test]
fn a_known_session_is_not_known_under_other_keys() {
    let (world, session, narrowed) = warm(2);
    let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
    let active = KeyState::Active;
    // The same id for another root key: what it signed must be looked at again.
    let other = KeyRing::new()
        .with_root(RootKeyId::new(1), key, active)
        .with_attestation(key, active);
    world.verifier.set_keys(other);
    assert_eq!(world.decide(&narrowed, "operator.read"), "bad_signature");
    assert_eq!(world.decide(&session, "operator.read"), "bad_signature");
    let again = KeyRing::new()
        .with_root(RootKeyId::new(1), root, active)
        .with_attestation(key, active);
    world.verifier.set_keys(again);
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
}

#[test]
fn a_known_session_that_ended_takes_its_narrowed_tokens_with_it() {
    let (world, session, narrowed) = warm(3);
    let id = claims(&session).session.unwrap().id.uuid();
    world.end(id, End::Revoked);
    assert_eq!(world.decide(&narrowed, "operator.read"), "revoked");
}

/// A flood of distinct valid tokens, which any holder can make for nothing,
/// neither grows the cache nor pushes out what is in use.
#[test]
fn a_flood_of_narrowed_tokens_leaves_what_is_in_use() {
    let mut world = World::new(4);
    let used: Vec<TokenText> = (0..50).map(|_| world.token(1)).collect();
    let known = |world: &World, token: &TokenText| {
        world
            .verifier
            .verify(token.expose(), &world.catalog, NOW)
            .unwrap()
    };
    for _ in 0..3 {
        for token in &used {
            known(&world, token);
        }
    }
    let before: Vec<_> = used.iter().map(|token| known(&world, token)).collect();
    let session = world.token(1);
    for n in 0..3000 {
        let caveat = Caveat::NotAfter(NOW.plus(100 + n));
        let narrowed = attenuate(&session, &[caveat], &mut world.rng).unwrap();
        assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
        // What is in use goes on being used meanwhile.
        let token = &used[usize::try_from(n).unwrap() % used.len()];
        assert_eq!(world.decide(token, "operator.read"), "ok");
    }
    let kept = used.iter().zip(&before);
    let kept = kept.filter(|(token, access)| std::sync::Arc::ptr_eq(&known(&world, token), access));
    assert!(kept.count() >= 45);
}
