//! A session that was verified once need not be again: what its holder adds is
//! verified alone, and nothing is decided otherwise for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hardtack_token::{Caveat, End, KeyRing, KeyState, RootKeyId, TokenText, Verifier, attenuate};
use prost::Message;

use crate::forge::{altered, attest_by_hand, bytes, hold, sealed, take_apart, text};
use crate::support::{NOW, World, claims, operator_catalog, set};

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
    assert!(format!("{:?}", world.verifier).contains("1 sessions used 0 times"));
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    // Now its text is known.
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    assert!(format!("{:?}", world.verifier).contains("1 sessions used 1 times"));
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

/// The token in encodings that decode to the same, so that every signature fits:
/// an unknown field in its last block or in its proof, a version of 0 written out,
/// a length in one byte more than it needs.
fn spelled_otherwise(token: &TokenText) -> Vec<TokenText> {
    let whole = bytes(token);
    let raw = take_apart(&whole);
    let (block, proof) = (
        raw.blocks.last().unwrap().encode_to_vec(),
        raw.proof.encode_to_vec(),
    );
    let field = |key: u8, content: &[u8], longer: bool| {
        let mut field = vec![key];
        prost::encoding::encode_varint(content.len() as u64, &mut field);
        if longer {
            *field.last_mut().unwrap() |= 0x80;
            field.push(0);
        }
        [&field, content].concat()
    };
    let start = whole.len() - field(0x1a, &block, false).len() - field(0x22, &proof, false).len();
    let spell = |block: &[u8], longer_block, proof: &[u8], longer_proof| {
        let (block, proof) = (
            field(0x1a, block, longer_block),
            field(0x22, proof, longer_proof),
        );
        [&whole[..start], &block, &proof].concat()
    };
    assert_eq!(spell(&block, false, &proof, false), whole);
    let more = |content: &[u8], field: &[u8]| [content, field].concat();
    let others = [
        spell(&more(&block, &[0x78, 1]), false, &proof, false),
        spell(&more(&block, &[0x28, 0]), false, &proof, false),
        spell(&block, true, &proof, false),
        spell(&block, false, &more(&proof, &[0x78, 1]), false),
        spell(&block, false, &proof, true),
    ];
    others.iter().map(|bytes| text(bytes)).collect()
}

/// What is said of a token by a verifier that knows its session is what one says
/// that knows nothing: the same content, or the same refusal in the same words.
#[test]
fn a_token_reads_the_same_whether_or_not_its_session_is_known() {
    let (mut world, session, narrowed) = warm(6);
    let keys = (*world.verifier.keys()).clone();
    let stranger = Verifier::new(keys, Arc::clone(&world.revocations), 0);
    let mut compared = BTreeMap::new();
    let mut compare = |world: &World, token: &TokenText| {
        let read = |verifier: &Verifier| {
            let read = verifier.verify(token.expose(), &world.catalog, NOW);
            read.map(|access| access.chain().clone())
        };
        let known = read(&world.verifier);
        assert_eq!(known, read(&stranger), "{}", token.expose());
        let code = known.map_or_else(|denial| denial.code(), |_| "ok");
        *compared.entry(code).or_insert(0) += 1;
    };
    let twice = attenuate(&narrowed, &[Caveat::NotAfter(NOW.plus(60))], &mut world.rng).unwrap();
    for code in [
        "",
        "check if method($m), {\"GET\"}.contains($m)",
        "check if accepts($s), {\"operator.write\"}.contains($s); check if true",
        "scope(\"operator.admin\")",
        "right($a) <- scope($a)",
        "check if operation($o), {\"operator.write\", \"device\", \"query\"}.contains($o)",
    ] {
        for token in [&session, &narrowed, &twice] {
            let held = hold(&mut world, token, code);
            compare(&world, &sealed(&held));
            compare(&world, &held);
        }
    }
    let check = "check if method($m), {\"GET\"}.contains($m)";
    for code in ["grant(\"x\")", check] {
        for token in [&session, &narrowed] {
            let attested = attest_by_hand(&mut world, &bytes(token), code);
            compare(&world, &attested);
        }
    }
    let start = bytes(&session).len() - 40;
    for token in [
        &session,
        &narrowed,
        &twice,
        &sealed(&session),
        &sealed(&twice),
    ] {
        let whole = bytes(token);
        for at in (0..start).step_by(17).chain(start..whole.len()) {
            for change in [1, 0x80] {
                let mut other = whole.clone();
                other[at] ^= change;
                compare(&world, &text(&other));
            }
            let mut less = whole.clone();
            less.remove(at);
            compare(&world, &text(&less));
        }
        // Fields again at the end: an id, an authority block, a block, a proof, nothing known.
        for more in [&[8, 1][..], &[0x12, 0], &[0x1a, 0], &[0x22, 0], &[0x2a, 0]] {
            compare(&world, &text(&[&whole, more].concat()));
        }
    }
    for other in spelled_otherwise(&narrowed) {
        compare(&world, &other);
    }
    for code in ["ok", "malformed_token", "outside_profile", "bad_signature"] {
        assert!(compared[code] > 10, "{compared:?}");
    }
}

#[test]
fn a_session_is_still_known_after_the_policy_has_changed() {
    let (mut world, session, narrowed) = warm(7);
    world.catalog = operator_catalog();
    assert_eq!(world.decide(&session, "operator.read"), "ok");
    assert_eq!(world.decide(&narrowed, "operator.read"), "ok");
    assert!(format!("{:?}", world.verifier).contains("1 sessions used 1 times"));
}

/// Its token is not asked for itself, and floods pass meanwhile.
#[test]
fn a_session_that_is_in_use_for_its_narrowed_tokens_stays_known() {
    let mut world = World::new(8);
    let keys = (*world.verifier.keys()).clone();
    let verifier = Verifier::new(keys, Arc::clone(&world.revocations), 1 << 19);
    let (session, other) = (world.token(1), world.token(1));
    let catalog = Arc::clone(&world.catalog);
    let verify = |token: &TokenText| {
        verifier.verify(token.expose(), &catalog, NOW).unwrap();
    };
    let mut narrowed = |from: &TokenText, n: u64| {
        let caveat = [Caveat::NotAfter(NOW.plus(100 + n))];
        attenuate(from, &caveat, &mut world.rng).unwrap()
    };
    verify(&other);
    // From here on the cache is full.
    for n in 0..300 {
        verify(&narrowed(&other, n));
    }
    verify(&session);
    for n in 0..1200 {
        let from = if n % 4 == 0 { &session } else { &other };
        verify(&narrowed(from, 300 + n));
    }
    let said = format!("{verifier:?}");
    assert!(said.contains("2 sessions used 1500 times"), "{said}");
}
