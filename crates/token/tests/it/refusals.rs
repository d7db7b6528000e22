//! Each reason to refuse a text as a token at all: from its form over its keys
//! and signatures to its activation.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biscuit_auth::BlockBuilder;
use biscuit_auth::format::schema::{Biscuit, Proof, proof::Content};
use ed25519_dalek::SigningKey;
use hardtack_token::{AttestationKey, Caveat, Denial, MAX_TEXT, NewSession, SessionId, TokenText};

use crate::forge::{
    Handmade, altered, append, bytes, hold, next_key, put_together, sealed, stock, take_apart, text,
};
use crate::grammar::HOLDER;
use crate::support::{GATEWAY, NOW, World, claims, device, get, session_naming, strings};

fn code(world: &World, text: &str) -> &'static str {
    let decision = world
        .verifier
        .authorize(text, &world.catalog, &get("/api/x"), &[]);
    decision.map_or_else(|denial| denial.code(), |_| "ok")
}

/// A token whose text ends in padding and holds letters of the URL-safe alphabet.
fn token_with_every_letter(world: &mut World) -> TokenText {
    let wanted = |t: &TokenText| ["-", "_", "="].iter().all(|c| t.expose().contains(c));
    let mut tokens = (0..100).map(|i| {
        let method = Caveat::Method(strings(&["GET", &"X".repeat(i % 3)]));
        let chain = world.chain(1);
        world.session(&chain, vec![method])
    });
    tokens.find(wanted).unwrap()
}

#[test]
fn only_padded_base64url_of_at_most_6_kib_is_read() {
    let mut world = World::new(1);
    let token = token_with_every_letter(&mut world);
    let (plain, raw) = (token.expose(), bytes(&token));
    assert_eq!(code(&world, plain), "ok");
    assert_eq!(code(&world, ""), "missing_token");
    for (what, text) in [
        ("unpadded", URL_SAFE_NO_PAD.encode(&raw)),
        ("the standard alphabet", STANDARD.encode(&raw)),
        ("a space before", format!(" {plain}")),
        ("a newline after", format!("{plain}\n")),
        ("padding after", format!("{plain}===")),
        ("twice", format!("{plain}{plain}")),
        ("too long", "A".repeat(MAX_TEXT + 4)),
        ("no base64", "{}".to_owned()),
        ("no container", "AAAA".to_owned()),
    ] {
        assert_eq!(code(&world, &text), "malformed_token", "{what}");
    }
}

#[test]
fn a_genuine_token_of_more_than_6_kib_is_not_read() {
    let mut world = World::new(11);
    let session = stock(&world.token(1));
    let next = next_key(&mut world);
    let of_length = |long: usize| {
        let method = "X".repeat(long);
        let code = format!(r#"check if method($m), {{"GET", "{method}"}}.contains($m);"#);
        let block = BlockBuilder::new().code(code).unwrap();
        let longer = session.append_with_keypair(&next, block).unwrap();
        longer.to_base64().unwrap()
    };
    let longest = (1..MAX_TEXT)
        .rev()
        .find(|n| of_length(*n).len() <= MAX_TEXT);
    let longest = longest.unwrap();
    assert_eq!(code(&world, &of_length(longest)), "ok");
    assert_eq!(code(&world, &of_length(longest + 1)), "malformed_token");
}

#[test]
fn a_container_is_read_in_its_one_encoding() {
    let mut world = World::new(2);
    let raw = bytes(&world.token(1));
    let (root_key_id, rest) = raw.split_at(2);
    assert_eq!(
        root_key_id,
        [0x08, 0x01],
        "the sample's root key id comes first"
    );
    let field_15 = [0x78, 0x01];
    for (what, changed) in [
        (
            "an unknown field at the end",
            [&raw[..], &field_15].concat(),
        ),
        (
            "an unknown field at the start",
            [&field_15[..], &raw].concat(),
        ),
        ("fields in another order", [rest, root_key_id].concat()),
        ("a field twice", [root_key_id, &raw].concat()),
        ("a long integer", [&[0x08, 0x81, 0x00], rest].concat()),
        ("a byte less", raw[..raw.len() - 1].to_vec()),
        ("a byte more", [&raw[..], &[0]].concat()),
    ] {
        assert_eq!(
            world.decide(&text(&changed), "operator.read"),
            "malformed_token",
            "{what}"
        );
    }
}

#[test]
fn the_parts_of_a_container_have_one_form() {
    type Change = fn(&mut Biscuit);
    let mut world = World::new(3);
    let token = world.token(1);
    let changes: [(&str, Change); 9] = [
        ("an explicit payload version 0", |t| {
            t.authority.version = Some(0);
        }),
        ("payload version 2", |t| t.blocks[1].version = Some(2)),
        ("no proof", |t| t.proof = Proof::default()),
        ("a short secret", |t| {
            t.proof.content = Some(Content::NextSecret(vec![1; 31]));
        }),
        ("a long seal", |t| {
            t.proof.content = Some(Content::FinalSignature(vec![1; 65]));
        }),
        ("a long signature", |t| t.blocks[0].signature.push(0)),
        ("a short key", |t| t.blocks[0].next_key.key.truncate(31)),
        ("no key", |t| t.authority.next_key.key.clear()),
        ("a block that does not decode", |t| {
            t.blocks[1].block.push(0x0a);
        }),
    ];
    for (what, change) in changes {
        let token = altered(&token, change);
        assert_eq!(
            world.decide(&token, "operator.read"),
            "malformed_token",
            "{what}"
        );
    }
}

#[test]
fn a_block_is_read_in_its_one_encoding() {
    let mut world = World::new(4);
    let token = world.token(1);
    let next = SigningKey::generate(&mut world.rng);
    let sample = take_apart(&bytes(&hold(&mut world, &token, HOLDER)));
    let sample = &sample.blocks[2].block;
    for (what, data, expected) in [
        ("as it is", sample.clone(), "ok"),
        (
            "an unknown field",
            [&sample[..], &[0x78, 0x01]].concat(),
            "malformed_token",
        ),
        (
            "the version twice",
            [&sample[..], &[0x18, 0x03]].concat(),
            "malformed_token",
        ),
        (
            "cut off",
            sample[..sample.len() - 1].to_vec(),
            "malformed_token",
        ),
    ] {
        let holder = Handmade {
            data,
            attested_by: None,
            payload: 1,
            next: &next,
        };
        let longer = put_together(&append(&take_apart(&bytes(&token)), &holder));
        assert_eq!(world.decide(&longer, "operator.read"), expected, "{what}");
    }
}

#[test]
fn a_key_that_is_not_in_the_ring_is_unknown() {
    let mut world = World::new(5);
    let (token, root_token) = (world.token(1), world.root.mint_root_token(&mut world.rng));
    let other = altered(&token, |t| t.root_key_id = Some(2));
    let absent = altered(&token, |t| t.root_key_id = None);
    let other_root = altered(root_token.unwrap().text(), |t| t.root_key_id = Some(2));
    let chain = world.chain(1);
    let own = std::mem::replace(
        &mut world.key,
        AttestationKey::from_secret(&[7; 32]).unwrap(),
    );
    let session = world.session(&chain, Vec::new());
    let grant = world.chain(2).seal().unwrap();
    world.key = own;
    for (what, token) in [
        ("another root key id", other),
        ("no root key id", absent),
        ("a root token of another id", other_root),
        ("a foreign session", session),
        ("foreign grants", grant),
    ] {
        assert_eq!(
            world.decide(&token, "operator.read"),
            "unknown_key",
            "{what}"
        );
    }
}

/// The token with every `from` in a block's signed bytes replaced.
fn reworded(token: &TokenText, block: usize, from: &str, to: &str) -> TokenText {
    altered(token, |t| {
        let signed = match block {
            0 => &mut t.authority.block,
            i => &mut t.blocks[i - 1].block,
        };
        let at = signed
            .windows(from.len())
            .position(|w| w == from.as_bytes());
        let at = at.unwrap();
        signed[at..at + to.len()].copy_from_slice(to.as_bytes());
    })
}

#[test]
fn an_altered_block_is_named() {
    let mut world = World::new(6);
    let token = world.token(2);
    let token = hold(&mut world, &token, HOLDER);
    let said = claims(&token);
    let session = said.session.as_ref().unwrap();
    for (block, from, to) in [
        (0, said.authority.to_string(), world.uuid().to_string()),
        (1, "operator.write".to_owned(), "operator.admin".to_owned()),
        (2, device(1).to_string(), device(2).to_string()),
        (3, session.id.to_string(), world.uuid().to_string()),
        (4, "GET".to_owned(), "PUT".to_owned()),
    ] {
        let denial = world.denial(&reworded(&token, block, &from, &to));
        assert_eq!(denial, Some(Denial::BadSignature { block }));
    }
}

#[test]
fn every_signature_is_checked() {
    type Part = fn(&mut Biscuit) -> &mut Vec<u8>;
    let mut world = World::new(7);
    let token = world.token(1);
    let parts: [(&str, Part, usize); 7] = [
        ("block 0", |t| &mut t.authority.signature, 0),
        ("the grant", |t| &mut t.blocks[0].signature, 1),
        ("the session", |t| &mut t.blocks[1].signature, 2),
        (
            "the attested grant",
            |t| &mut t.blocks[0].external_signature.as_mut().unwrap().signature,
            1,
        ),
        (
            "the attested session",
            |t| &mut t.blocks[1].external_signature.as_mut().unwrap().signature,
            2,
        ),
        (
            "the key after block 0",
            |t| &mut t.authority.next_key.key,
            0,
        ),
        ("the last key", |t| &mut t.blocks[1].next_key.key, 2),
    ];
    for (what, part, block) in parts {
        let token = altered(&token, |t| part(t)[5] ^= 1);
        assert_eq!(
            world.denial(&token),
            Some(Denial::BadSignature { block }),
            "{what}"
        );
    }
    for token in [token.clone(), sealed(&token)] {
        let token = altered(&token, |t| match t.proof.content.as_mut().unwrap() {
            Content::NextSecret(proof) | Content::FinalSignature(proof) => proof[5] ^= 1,
        });
        assert_eq!(
            world.denial(&token),
            Some(Denial::BadSignature { block: 3 }),
            "the proof"
        );
    }
}

#[test]
fn a_moved_block_is_a_bad_signature() {
    let mut world = World::new(8);
    let (own, other) = (world.token(2), world.token(2));
    let other = take_apart(&bytes(&other));
    for block in 1..=3 {
        let moved = altered(&own, |t| {
            t.blocks[block - 1] = other.blocks[block - 1].clone();
        });
        assert_eq!(world.denial(&moved), Some(Denial::BadSignature { block }));
    }
    let moved = altered(&own, |t| t.authority = other.authority.clone());
    assert_eq!(
        world.denial(&moved),
        Some(Denial::BadSignature { block: 1 })
    );
}

#[test]
fn a_grant_and_the_root_token_are_no_credentials() {
    let mut world = World::new(9);
    let grant = world.chain(4).seal().unwrap();
    assert_eq!(world.decide(&grant, "operator.read"), "grant_not_accepted");
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    let root = root.text();
    assert_eq!(world.decide(root, "*"), "root_token_not_accepted");
    // Whether it is genuine is not said.
    let forged = altered(root, |t| t.authority.signature[5] ^= 1);
    assert_eq!(world.decide(&forged, "*"), "root_token_not_accepted");
}

#[test]
fn a_session_activates_the_last_grant_only() {
    let mut world = World::new(10);
    let parent = world.chain(1);
    let child = world.grant(&parent, device(2), "operator.read");
    let stranger = world.chain(1);
    for (what, other, expected) in [
        ("its own", &child, "ok"),
        ("its parent", &parent, "not_activated"),
        ("a stranger", &stranger, "not_activated"),
    ] {
        let session = NewSession {
            id: SessionId::from_uuid(world.uuid()),
            audience: GATEWAY.to_owned(),
            not_after: NOW.plus(900),
            caveats: Vec::new(),
        };
        let token = session_naming(&mut world, &child, other, &session);
        assert_eq!(world.decide(&token, "operator.read"), expected, "{what}");
    }
}
