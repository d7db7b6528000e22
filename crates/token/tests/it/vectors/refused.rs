//! `refused.json`: what is no access token, and where reading it stops.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use biscuit_auth::format::schema::{Biscuit, proof::Content};
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use hardtack_token::{
    AttestationKey, Caveat, Denial, MAX_TEXT, NewSession, SessionId, TokenText, attenuate,
};
use serde::{Deserialize, Serialize};

use super::keys::{device_id, trusted, world};
use crate::encoding::{EDITS, rewritten};
use crate::forge::{altered, attest_by_hand, bytes, hold, hold_with, put_together, sealed, text};
use crate::grammar::{self, GRANT, HOLDER, SESSION};
use crate::support::{GATEWAY, NOW, World, get, session_naming, set};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Vector {
    name: String,
    token: String,
    code: String,
    /// The block that the refusal names, where it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<usize>,
    /// Our words for it; another verifier may choose its own.
    words: String,
}

fn refusal(token: &str) -> Denial {
    let (ring, catalog) = trusted();
    let revocations = hardtack_token::Revocations::new(5);
    revocations.confirm(NOW);
    let verifier = hardtack_token::Verifier::new(ring, std::sync::Arc::new(revocations), 0);
    let refused = verifier.authorize(token, &catalog, &get("/api/x"), &[]);
    refused.expect_err("it is of the profile")
}

fn block(denial: &Denial) -> Option<usize> {
    match denial {
        Denial::OutsideProfile(outside) => Some(outside.block),
        Denial::BadSignature { block } => Some(*block),
        _ => None,
    }
}

struct Collection(Vec<Vector>);

impl Collection {
    fn add(&mut self, name: &str, token: impl Into<String>) {
        let token = token.into();
        let denial = refusal(&token);
        self.0.push(Vector {
            name: name.to_owned(),
            code: denial.code().to_owned(),
            block: block(&denial),
            words: denial.to_string(),
            token,
        });
    }

    fn token(&mut self, name: &str, token: &TokenText) {
        self.add(name, token.expose());
    }
}

pub(super) fn make() -> Vec<Vector> {
    let mut made = Collection(Vec::new());
    texts(&mut world(10), &mut made);
    containers(&mut world(11), &mut made);
    keys(&mut world(12), &mut made);
    forms(&mut world(13), &mut made);
    signatures(&mut world(14), &mut made);
    kinds(&mut world(15), &mut made);
    made.0
}

fn sample(world: &mut World) -> TokenText {
    let chain = world.authority("*");
    let chain = world.grant(&chain, device_id(1), "operator.read");
    let token = world.session(&chain, Vec::new());
    let caveat = Caveat::Scopes(set("operator.read"));
    attenuate(&token, &[caveat], &mut world.rng).unwrap()
}

/// A token whose text ends in padding and holds letters of the URL-safe alphabet.
fn with_every_letter(world: &mut World) -> TokenText {
    let wanted = |t: &TokenText| ["-", "_", "="].iter().all(|c| t.expose().contains(c));
    let mut tokens = (1..100).map(|n| {
        let token = sample(world);
        let method = "X".repeat(n);
        hold(
            world,
            &token,
            &format!(r#"check if method($m), {{"{method}"}}.contains($m);"#),
        )
    });
    tokens.find(wanted).unwrap()
}

fn texts(world: &mut World, made: &mut Collection) {
    let token = with_every_letter(world);
    let (plain, raw) = (token.expose().to_owned(), bytes(&token));
    made.add("no text", "");
    made.add("unpadded", URL_SAFE_NO_PAD.encode(&raw));
    made.add("the standard alphabet", STANDARD.encode(&raw));
    made.add("a newline after it", format!("{plain}\n"));
    made.add("a space before it", format!(" {plain}"));
    made.add("twice", format!("{plain}{plain}"));
    let mut stray: Vec<char> = plain.trim_end_matches('=').chars().collect();
    let padding = plain.len() - stray.len();
    let last = stray.pop().unwrap();
    stray.push(char::from(last as u8 + 1));
    stray.extend(std::iter::repeat_n('=', padding));
    made.add(
        "stray bits before the padding",
        stray.iter().collect::<String>(),
    );
    made.add("longer than 6 KiB", "A".repeat(MAX_TEXT + 4));
    made.add("no container", "AAAA");
}

fn containers(world: &mut World, made: &mut Collection) {
    type Change = fn(&mut Biscuit);
    let token = sample(world);
    let raw = bytes(&token);
    let (root_key_id, rest) = raw.split_at(2);
    let changed = |bytes: &[&[u8]]| text(&bytes.concat());
    made.token("an unknown field", &changed(&[&raw, &[0x78, 0x01]]));
    made.token("fields in another order", &changed(&[rest, root_key_id]));
    made.token("a field twice", &changed(&[root_key_id, &raw]));
    made.token(
        "a number longer than it needs",
        &changed(&[&[0x08, 0x81, 0x00], rest]),
    );
    made.token("a byte less", &text(&raw[..raw.len() - 1]));
    made.token("a byte more", &changed(&[&raw, &[0]]));
    let edits: [(&str, Change); 7] = [
        ("an explicit signature version 0", |t| {
            t.authority.version = Some(0);
        }),
        ("signature version 2", |t| t.blocks[1].version = Some(2)),
        ("no proof", |t| t.proof.content = None),
        ("a short secret", |t| {
            t.proof.content = Some(Content::NextSecret(vec![1; 31]));
        }),
        ("a long signature", |t| t.blocks[0].signature.push(0)),
        ("a short key", |t| t.blocks[0].next_key.key.truncate(31)),
        ("a block that does not decode", |t| {
            t.blocks[1].block.push(0x0a);
        }),
    ];
    for (name, change) in edits {
        made.token(name, &altered(&token, change));
    }
    let nine = altered(&token, |t| t.blocks.resize(8, t.blocks[2].clone()));
    made.token("nine blocks", &nine);
    let p256 = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut world.rng);
    let session = sample(world);
    let on_p256 = hold_with(&session, &p256, BlockBuilder::new());
    made.token("a P-256 key", &on_p256);
    // An unknown field inside of a block, signed as it stands.
    let unknown = rewritten(world, "an unknown field");
    made.token("an unknown field in a signed block", &unknown);
}

fn keys(world: &mut World, made: &mut Collection) {
    let token = sample(world);
    let other = altered(&token, |t| t.root_key_id = Some(9));
    made.token("a root key id that is not known", &other);
    let none = altered(&token, |t| t.root_key_id = None);
    made.token("no root key id", &none);
    let stranger = AttestationKey::from_secret(&[7; 32]).unwrap();
    let own = std::mem::replace(&mut world.key, stranger);
    let attested = sample(world);
    made.token("attested by a stranger", &attested);
    world.key = own;
}

/// Everything that the grammar refuses.
fn forms(world: &mut World, made: &mut Collection) {
    grammar::each_case(grammar::NO_GRANTS, GRANT, |_, code, line| {
        let token = grammar::attested(world, code, SESSION);
        made.token(&named("grant", line), &token);
    });
    grammar::each_case(grammar::NO_SESSIONS, SESSION, |_, code, line| {
        let token = grammar::attested(world, GRANT, code);
        made.token(&named("session", line), &token);
    });
    let session = grammar::attested(world, GRANT, SESSION);
    grammar::each_case(grammar::NO_HOLDERS, HOLDER, |_, code, line| {
        let token = hold(world, &session, code);
        made.token(&named("holder's block", line), &token);
    });
    for (shape, ..) in grammar::BAD_SHAPES {
        let token = grammar::shaped(world, shape);
        made.token(&format!("blocks {shape}"), &token);
    }
    for (edit, _) in EDITS {
        let token = rewritten(world, edit);
        made.token(&format!("holder's block: {edit}"), &token);
    }
}

/// `reason | removed | added` in words.
fn named(block: &str, line: &str) -> String {
    let parts: Vec<&str> = line.split('|').map(str::trim).collect();
    let said = |what: &str, code: &str| match code {
        "" => String::new(),
        code => format!(" {what} {code}"),
    };
    format!(
        "{block}{}{}",
        said("without", parts[1]),
        said("with", parts[2])
    )
}

fn signatures(world: &mut World, made: &mut Collection) {
    let token = sample(world);
    for block in 0..4 {
        let turned = altered(&token, |t| match block {
            0 => t.authority.signature[5] ^= 1,
            i => t.blocks[i - 1].signature[5] ^= 1,
        });
        made.token(&format!("a bit of the signature of block {block}"), &turned);
        let raised = altered(&token, |t| {
            crate::malleability::raised(match block {
                0 => &mut t.authority.signature,
                i => &mut t.blocks[i - 1].signature,
            });
        });
        made.token(
            &format!("the other scalar of the signature of block {block}"),
            &raised,
        );
    }
    for block in 1..3 {
        let turned = altered(&token, |t| {
            let external = t.blocks[block - 1].external_signature.as_mut().unwrap();
            external.signature[5] ^= 1;
        });
        let name = format!("a bit of the external signature of block {block}");
        made.token(&name, &turned);
    }
    for (name, token) in [("an open", token.clone()), ("a sealed", sealed(&token))] {
        let turned = altered(&token, |t| match t.proof.content.as_mut().unwrap() {
            Content::NextSecret(proof) | Content::FinalSignature(proof) => proof[5] ^= 1,
        });
        made.token(&format!("a bit of the proof of {name} token"), &turned);
    }
    let other = sample(world);
    let other = crate::forge::take_apart(&bytes(&other));
    let moved = altered(&token, |t| t.blocks[1] = other.blocks[1].clone());
    made.token("the session of another token", &moved);
    let cut = altered(&token, |t| t.blocks.truncate(2));
    made.token("the holder's block cut off", &cut);
    made.token(
        "a last key of low order, for which everybody can sign",
        &put_together(&crate::malleability::of_low_order(world)),
    );
}

fn kinds(world: &mut World, made: &mut Collection) {
    let root = world.root.mint_root_token(&mut world.rng).unwrap();
    made.token("the root token", root.text());
    let parent = world.authority("*");
    let parent = world.grant(&parent, device_id(1), "operator.read");
    made.token("a grant", &parent.seal().unwrap());
    made.token("an open grant", &text(parent.to_stored()));
    let child = world.grant(&parent, device_id(2), "operator.read");
    let session = NewSession {
        id: SessionId::from_uuid(world.uuid()),
        audience: GATEWAY.to_owned(),
        not_after: NOW.plus(900),
        caveats: Vec::new(),
    };
    let elsewhere = session_naming(world, &child, &parent, &session);
    made.token("a session that names the grant above", &elsewhere);
    let access = world.session(&parent, Vec::new());
    let again = attest_by_hand(
        world,
        &bytes(&access),
        &GRANT.replace("DEVICE", &device_id(2).to_string()),
    );
    made.token("a grant on top of an access token", &again);
}

#[test]
fn refused_vectors_are_refused_for_the_reason_that_is_written() {
    let vectors: Vec<Vector> = super::read("refused");
    assert!(vectors.len() > 100);
    for vector in vectors {
        let denial = refusal(&vector.token);
        assert_eq!(denial.code(), vector.code, "{}", vector.name);
        assert_eq!(block(&denial), vector.block, "{}", vector.name);
        assert_eq!(denial.to_string(), vector.words, "{}", vector.name);
    }
}

#[test]
fn the_refused_vectors_show_every_refusal_of_a_token() {
    let vectors: Vec<Vector> = super::read("refused");
    let codes: std::collections::BTreeSet<_> = vectors.iter().map(|v| v.code.as_str()).collect();
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        [
            "bad_signature",
            "grant_not_accepted",
            "malformed_token",
            "missing_token",
            "not_activated",
            "outside_profile",
            "root_token_not_accepted",
            "unknown_key",
        ]
    );
}
