//! A token has one text. Whatever a holder can make of it without a key never
//! decides more than it does, and what is signed is read in one way.

use std::cell::Cell;

use biscuit_auth::format::schema::{self, Biscuit, proof::Content};
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use ed25519_dalek::{Signature, SigningKey, Verifier, VerifyingKey};
use hardtack_token::{Caveat, Denial, KeyRing, KeyState, Request, RootKeyId, TokenText, attenuate};
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;

use crate::forge::{
    Handmade, altered, append, append_before, begin, bytes, hold_with, next_key, put_together,
    sealed, signing_key, stock, stock_verifies, take_apart, text,
};
use crate::support::{NOW, World, below, claims, device, get, oracle, runner, set, strings};

/// `A G G S H` that meets [`request`], with every kind of caveat.
fn sample(world: &mut World) -> TokenText {
    let chain = world.chain(2);
    let token = world.session(&chain, vec![Caveat::Holder(device(1))]);
    let caveats = [
        Caveat::Scopes(set("operator.read operator.write")),
        Caveat::NotAfter(NOW.plus(60)),
        Caveat::Method(strings(&["GET", "HEAD"])),
        Caveat::Operation(strings(&["list"])),
        below("/api/"),
    ];
    attenuate(&token, &caveats, &mut world.rng).unwrap()
}

fn request() -> Request<'static> {
    Request {
        holder: Some(device(1)),
        operation: Some("list"),
        ..get("/api/x")
    }
}

fn decide(world: &World, token: &TokenText) -> &'static str {
    world.decide_request(token, &request(), &[world.requirement("operator.read")])
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    let mut world = World::new(1);
    let open = sample(&mut world);
    for token in [&open, &sealed(&open)] {
        assert_eq!(decide(&world, token), "ok");
        let raw = bytes(token);
        for bit in 0..raw.len() * 8 {
            let mut changed = raw.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let decision = decide(&world, &text(&changed));
            assert_ne!(decision, "ok", "bit {bit}");
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Nudge(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Copy(Index, Index, usize),
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let few = || prop::collection::vec(any::<u8>(), 1..4);
        prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            4 => (any::<Index>(), 0..5_u8).prop_map(|(at, by)| Self::Nudge(at, by)),
            1 => (any::<Index>(), few()).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            1 => (any::<Index>(), 1..40_usize).prop_map(|(at, len)| Self::Remove(at, len)),
            1 => (any::<Index>(), any::<Index>(), 1..200_usize)
                .prop_map(|(from, to, len)| Self::Copy(from, to, len)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let end = |from: usize, len: usize| (from + len).min(bytes.len());
        match self {
            Self::Set(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Nudge(at, by) => {
                let byte = at.get_mut(bytes);
                *byte = byte.wrapping_add(*by).wrapping_sub(2);
            }
            Self::Insert(at, added) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, added.iter().copied());
            }
            Self::Remove(at, len) => {
                let at = at.index(bytes.len());
                bytes.drain(at..end(at, *len));
            }
            Self::Copy(from, to, len) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let copied = bytes[from..end(from, *len)].to_vec();
                bytes.splice(to..to, copied);
            }
        }
    }
}

fn apply(edits: &[Edit], bytes: &mut Vec<u8>) {
    for edit in edits {
        edit.apply(bytes);
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec(Edit::any(), 1..3)
}

#[test]
fn no_bytes_of_a_token_can_be_changed() {
    let mut world = World::new(2);
    let raw = bytes(&sample(&mut world));
    let outcome = runner(4000).run(&edits(), |edits| {
        let mut changed = raw.clone();
        apply(&edits, &mut changed);
        let decision = decide(&world, &text(&changed));
        prop_assert_eq!(decision == "ok", changed == raw);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn no_letter_of_a_token_can_be_changed() {
    let mut world = World::new(3);
    let token = sample(&mut world);
    let plain = token.expose().as_bytes().to_vec();
    let outcome = runner(4000).run(&edits(), |edits| {
        let mut changed = plain.clone();
        apply(&edits, &mut changed);
        let text = TokenText::new(String::from_utf8_lossy(&changed)).unwrap();
        let decision = decide(&world, &text);
        prop_assert_eq!(decision == "ok", changed == plain);
        Ok(())
    });
    outcome.unwrap();
}

/// The token with the bytes of one block changed and everything signed again.
fn signed_again(world: &World, token: &TokenText, block: usize, edits: &[Edit]) -> TokenText {
    let raw = take_apart(&bytes(token));
    let mut blocks: Vec<_> = raw.blocks.iter().map(|b| b.block.clone()).collect();
    blocks.insert(0, raw.authority.block);
    apply(edits, &mut blocks[block]);
    let root = SigningKey::from_bytes(world.root.secret().as_slice().try_into().unwrap());
    let key = signing_key(&world.key);
    let next = SigningKey::from_bytes(&[3; 32]);
    let mut blocks = blocks.into_iter();
    let mut open = begin(&root, 1, blocks.next().unwrap(), &next);
    for (i, data) in blocks.enumerate() {
        let attested_by = raw.blocks[i].external_signature.is_some().then_some(&key);
        let handmade = Handmade {
            data,
            attested_by,
            payload: 1,
            next: &next,
        };
        open = append(&open, &handmade);
    }
    put_together(&open)
}

/// What the walk admits means the same to the stock crate, whatever bytes were signed.
#[test]
fn signed_bytes_that_are_read_are_read_as_the_stock_crate_reads_them() {
    let mut world = World::new(4);
    let token = sample(&mut world);
    let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
    let required = [world.requirement("operator.read")];
    let admitted = Cell::new(0);
    let outcome = runner(3000).run(&(0..5_usize, edits()), |(block, edits)| {
        let token = signed_again(&world, &token, block, &edits);
        let native = decide(&world, &token);
        if [
            "malformed_token",
            "outside_profile",
            "root_token_not_accepted",
        ]
        .contains(&native)
        {
            return Ok(());
        }
        admitted.set(admitted.get() + 1);
        let leaf = claims(&token).leaf().id;
        let datalog = oracle(
            &token,
            &root,
            &key,
            leaf,
            &world.catalog,
            &request(),
            &required,
        );
        prop_assert_eq!(native == "ok", datalog, "{}", native);
        Ok(())
    });
    outcome.unwrap();
    assert!(
        admitted.get() > 100,
        "only {} were admitted",
        admitted.get()
    );
}

#[test]
fn a_copy_that_any_holder_can_make_decides_the_same() {
    let mut world = World::new(5);
    let token = sample(&mut world);
    let own = world.allowed(&token, &request());
    assert_eq!(own, ["operator.read", "operator.write", "none"]);
    assert_eq!(world.allowed(&sealed(&token), &request()), own);
    let hinted = altered(&token, |t| t.root_key_id = Some(2));
    let (root, key) = (world.root.public().unwrap(), world.key.public().unwrap());
    let other = hardtack_token::PublicKey::from_bytes(key.as_bytes()).unwrap();
    for (second, expected) in [(other, "bad_signature"), (root, "ok")] {
        let ring = KeyRing::new()
            .with_root(RootKeyId::new(1), root, KeyState::Active)
            .with_root(RootKeyId::new(2), second, KeyState::Retiring)
            .with_attestation(key, KeyState::Active);
        world.verifier.set_keys(ring);
        assert_eq!(decide(&world, &hinted), expected);
        assert_eq!(decide(&world, &token), "ok");
    }
    assert_eq!(world.allowed(&hinted, &request()), own);
}

/// The same Ed25519 signature with its scalar raised by the order of the group.
pub(crate) fn raised(signature: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
}

#[test]
fn an_ed25519_signature_has_one_form() {
    let mut world = World::new(6);
    let token = sample(&mut world);
    let refused = |change: &dyn Fn(&mut Biscuit), block| {
        let token = altered(&sealed(&token), change);
        assert_eq!(world.denial(&token), Some(Denial::BadSignature { block }));
    };
    refused(&|t| raised(&mut t.authority.signature), 0);
    for i in 0..4 {
        refused(&|t| raised(&mut t.blocks[i].signature), i + 1);
    }
    for i in 0..3 {
        let external = |t: &mut Biscuit| {
            let external = t.blocks[i].external_signature.as_mut().unwrap();
            raised(&mut external.signature);
        };
        refused(&external, i + 1);
    }
    refused(
        &|t| match t.proof.content.as_mut().unwrap() {
            Content::FinalSignature(signature) => raised(signature),
            Content::NextSecret(_) => panic!("it is sealed"),
        },
        5,
    );
}

/// The key for which everybody can sign, and a signature of it that fits
/// whatever it is for: R = sB under the neutral element. Here s = 1, R = B.
fn everybodys() -> (schema::PublicKey, Vec<u8>) {
    let mut neutral = vec![0; 32];
    neutral[0] = 1;
    let signature = [&[0x58][..], &[0x66; 31], &neutral].concat();
    let key = schema::PublicKey {
        algorithm: 0,
        key: neutral,
    };
    (key, signature)
}

/// A token whose last key is of low order, sealed by somebody without a secret.
pub(crate) fn of_low_order(world: &mut World) -> Biscuit {
    let token = world.token(1);
    let next = SigningKey::generate(&mut world.rng);
    let empty = schema::Block {
        version: Some(3),
        ..schema::Block::default()
    };
    let holder = Handmade {
        data: empty.encode_to_vec(),
        attested_by: None,
        payload: 1,
        next: &next,
    };
    let open = take_apart(&bytes(&token));
    let honest = put_together(&append(&open, &holder));
    assert_eq!(world.denial(&honest), None);
    let (key, signature) = everybodys();
    append_before(&open, &holder, &key, Content::FinalSignature(signature))
}

#[test]
fn a_next_key_for_which_everybody_can_sign_proves_nothing() {
    let mut world = World::new(7);
    let (key, signature) = everybodys();
    let lenient = VerifyingKey::from_bytes(key.key.as_slice().try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    assert!(lenient.verify(b"anything", &signature).is_ok());
    let weak = put_together(&of_low_order(&mut world));
    assert_eq!(world.denial(&weak), Some(Denial::BadSignature { block: 4 }));
}

/// The other DER signature of P-256 that fits: s becomes n - s.
fn mirrored(der: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (r, s) = der[2..].split_at(2 + usize::from(der[3]));
    let s = &s[2..];
    let mut padded = [0; 33];
    padded[33 - s.len()..].copy_from_slice(s);
    let mut borrow = 0;
    let mut mirrored = [0; 33];
    for i in (1..33).rev() {
        let difference = 256 + i16::from(ORDER[i - 1]) - i16::from(padded[i]) - borrow;
        borrow = i16::from(difference < 256);
        mirrored[i] = u8::try_from(difference % 256).unwrap();
    }
    let zeros = mirrored.iter().take_while(|byte| **byte == 0).count();
    let from = if mirrored[zeros] >= 0x80 {
        zeros - 1
    } else {
        zeros
    };
    let s = &mirrored[from..];
    let length = |part: &[u8]| u8::try_from(part.len()).unwrap();
    let body = [r, &[0x02, length(s)], s].concat();
    [&[0x30, length(&body)], &body[..]].concat()
}

#[test]
fn a_p256_signature_that_has_two_forms_is_not_read_in_either() {
    let mut world = World::new(8);
    let p256 = KeyPair::new_with_rng(Algorithm::Secp256r1, &mut world.rng);
    let next = next_key(&mut world);
    let token = hold_with(&world.token(1), &p256, BlockBuilder::new());
    let token = hold_with(&token, &next, BlockBuilder::new());
    let twin = altered(&token, |t| {
        t.blocks[3].signature = mirrored(&t.blocks[3].signature);
    });
    assert_ne!(
        stock(&token).revocation_identifiers(),
        stock(&twin).revocation_identifiers()
    );
    for token in [token, twin] {
        assert!(stock_verifies(&world, &token));
        assert_eq!(world.decide(&token, "operator.read"), "outside_profile");
    }
}
