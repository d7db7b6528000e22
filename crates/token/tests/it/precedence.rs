//! Where several reasons to refuse hold, the earliest in the order of reading is
//! the one given: a token with all faults is refused for the first, then the
//! first is mended, and so on to the last.

use biscuit_auth::format::schema::Biscuit;
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use hardtack_token::{Caveat, End, MAX_TEXT, NewSession, Request, SessionId, TokenText};

use crate::forge::{altered, bytes, hold, hold_with, text};
use crate::support::{BOUND, GATEWAY, NOW, World, claims, device, get, session_naming};

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Fault {
    TooLong,
    NotBase64,
    NineBlocks,
    P256,
    UnknownKey,
    NotCanonical,
    HolderStates,
    BadSignature,
    ForeignSession,
    StaleSet,
    Revoked,
    Retired,
    Expired,
    NotProven,
    Elsewhere,
    OtherMethod,
    OtherPath,
    OtherOperation,
    NoScope,
    Nothing,
}

const ORDER: [(Fault, &str); 20] = [
    (Fault::TooLong, "malformed_token"),
    (Fault::NotBase64, "malformed_token"),
    (Fault::NineBlocks, "outside_profile"),
    (Fault::P256, "outside_profile"),
    (Fault::UnknownKey, "unknown_key"),
    (Fault::NotCanonical, "malformed_token"),
    (Fault::HolderStates, "outside_profile"),
    (Fault::BadSignature, "bad_signature"),
    (Fault::ForeignSession, "not_activated"),
    (Fault::StaleSet, "revocations_stale"),
    (Fault::Revoked, "revoked"),
    (Fault::Retired, "retired"),
    (Fault::Expired, "expired"),
    (Fault::NotProven, "wrong_holder"),
    (Fault::Elsewhere, "wrong_audience"),
    (Fault::OtherMethod, "caveat_method"),
    (Fault::OtherPath, "caveat_path"),
    (Fault::OtherOperation, "caveat_operation"),
    (Fault::NoScope, "insufficient_scope"),
    (Fault::Nothing, "ok"),
];

/// The decision on a token, in a world, that has every fault from `first` on.
fn decide_with_faults_from(world: &mut World, first: Fault) -> &'static str {
    let has = |fault: Fault| fault >= first;
    let age = if has(Fault::StaleSet) { BOUND } else { 0 };
    world.revocations.confirm(NOW.minus(age));

    let mut token = faulty_token(world, has);
    if has(Fault::P256) {
        let p256 = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut world.rng);
        token = hold_with(&token, &p256, BlockBuilder::new());
    }
    token = altered(&token, |t| {
        if has(Fault::NineBlocks) {
            t.blocks.resize(8, t.blocks[2].clone());
        }
        if has(Fault::UnknownKey) {
            t.root_key_id = Some(9);
        }
        if has(Fault::BadSignature) {
            t.authority.signature[5] ^= 1;
        }
    });
    if has(Fault::NotCanonical) {
        token = text(&[bytes(&token), vec![0x78, 0x01]].concat());
    }
    let mut presented = token.expose().to_owned();
    if has(Fault::NotBase64) {
        presented.push('!');
    }
    if has(Fault::TooLong) {
        presented.push_str(&"A".repeat(MAX_TEXT));
    }
    let request = Request {
        holder: (!has(Fault::NotProven)).then(|| device(1)),
        operation: Some("list"),
        ..get("/api/x")
    };
    let required = [world.requirement("operator.read")];
    let decision = world
        .verifier
        .authorize(&presented, &world.catalog, &request, &required);
    decision.map_or_else(|denial| denial.code(), |_| "ok")
}

/// The faults that are written into the blocks, or said of their ids.
fn faulty_token(world: &mut World, has: impl Fn(Fault) -> bool) -> TokenText {
    let chain = world.chain(2);
    let stranger = world.chain(1);
    let named = if has(Fault::ForeignSession) {
        &stranger
    } else {
        &chain
    };
    let lineage = chain.profile().unwrap();
    if has(Fault::Revoked) {
        world.end(lineage.authority.uuid(), End::Revoked);
    }
    if has(Fault::Retired) {
        world.end(lineage.leaf().id.uuid(), End::Retired);
    }
    let session = NewSession {
        id: SessionId::from_uuid(world.uuid()),
        audience: GATEWAY.to_owned(),
        not_after: if has(Fault::Expired) {
            NOW
        } else {
            NOW.plus(1)
        },
        caveats: vec![Caveat::Holder(device(1))],
    };
    let token = session_naming(world, &chain, named, &session);
    let holder: String = [
        (Fault::HolderStates, r#"scope("operator.read");"#),
        (
            Fault::NoScope,
            r#"check if accepts($s), {"operator.pairing"}.contains($s);"#,
        ),
        (
            Fault::OtherOperation,
            r#"check if operation($o), {"other"}.contains($o);"#,
        ),
        (
            Fault::OtherPath,
            r#"check if path($p), $p.starts_with("/other/");"#,
        ),
        (
            Fault::OtherMethod,
            r#"check if method($m), {"PUT"}.contains($m);"#,
        ),
        (
            Fault::Elsewhere,
            r#"check if audience($a), {"http://b"}.contains($a);"#,
        ),
    ]
    .into_iter()
    .filter(|(fault, _)| has(*fault))
    .map(|(_, code)| code)
    .collect();
    hold(world, &token, &holder)
}

#[test]
fn the_earliest_reason_in_the_order_of_reading_is_given() {
    for (first, expected) in ORDER {
        let mut world = World::new(1);
        let given = decide_with_faults_from(&mut world, first);
        assert_eq!(given, expected, "with every fault from {first:?} on");
    }
}

#[test]
fn what_is_no_access_token_is_read_in_the_same_order() {
    let mut world = World::new(2);
    let grant = world.chain(1).seal().unwrap();
    let leaf = claims(&grant).leaf().id.uuid();
    world.end(leaf, End::Revoked);
    world.revocations.confirm(NOW.minus(BOUND));
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    let signature = |t: &mut Biscuit| t.authority.signature[5] ^= 1;
    let key = |t: &mut Biscuit| t.root_key_id = Some(9);
    let (bad_grant, bad_root) = (altered(&grant, signature), altered(root.text(), signature));
    for (what, token, expected) in [
        ("a revoked grant, stale", grant, "grant_not_accepted"),
        ("a forged grant", bad_grant.clone(), "bad_signature"),
        (
            "a forged grant of an unknown key",
            altered(&bad_grant, key),
            "unknown_key",
        ),
        (
            "a root token, stale",
            root.text().clone(),
            "root_token_not_accepted",
        ),
        (
            "a forged root token",
            bad_root.clone(),
            "root_token_not_accepted",
        ),
        (
            "a forged root token of an unknown key",
            altered(&bad_root, key),
            "unknown_key",
        ),
    ] {
        assert_eq!(world.decide(&token, "operator.read"), expected, "{what}");
    }
}
