//! Tokens taken apart, changed and put together again, as an attacker would.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use biscuit_auth::format::schema::{self, proof::Content};
use biscuit_auth::{Algorithm, BlockBuilder, KeyPair};
use ed25519_dalek::{Signer, SigningKey};
use hardtack_token::{AttestationKey, PublicKey, TokenText};
use prost::Message;

use crate::support::World;

pub(crate) fn bytes(token: &TokenText) -> Vec<u8> {
    URL_SAFE.decode(token.expose()).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> TokenText {
    TokenText::new(URL_SAFE.encode(bytes)).unwrap()
}

pub(crate) fn take_apart(bytes: &[u8]) -> schema::Biscuit {
    schema::Biscuit::decode(bytes).unwrap()
}

pub(crate) fn put_together(raw: &schema::Biscuit) -> TokenText {
    text(&raw.encode_to_vec())
}

/// The token with its container changed and nothing signed again.
pub(crate) fn altered(token: &TokenText, change: impl FnOnce(&mut schema::Biscuit)) -> TokenText {
    let mut raw = take_apart(&bytes(token));
    change(&mut raw);
    put_together(&raw)
}

/// A token as the stock crate holds it, unverified, to be tampered with.
pub(crate) fn stock(token: &TokenText) -> biscuit_auth::UnverifiedBiscuit {
    biscuit_auth::UnverifiedBiscuit::from_base64(token.expose()).unwrap()
}

pub(crate) fn stock_key(key: &PublicKey) -> biscuit_auth::PublicKey {
    biscuit_auth::PublicKey::from_bytes(key.as_bytes(), Algorithm::Ed25519).unwrap()
}

pub(crate) fn next_key(world: &mut World) -> KeyPair {
    KeyPair::new_with_rng(Algorithm::Ed25519, &mut world.rng)
}

/// Whether the stock crate finds every signature of the token in order.
pub(crate) fn stock_verifies(world: &World, token: &TokenText) -> bool {
    let root = stock_key(&world.root.public().unwrap());
    biscuit_auth::Biscuit::from_base64(token.expose(), root).is_ok()
}

/// The sealed copy that any holder of an open token can make.
pub(crate) fn sealed(token: &TokenText) -> TokenText {
    TokenText::new(stock(token).seal().unwrap().to_base64().unwrap()).unwrap()
}

/// Appends a first-party block as any Biscuit library would.
pub(crate) fn hold(world: &mut World, token: &TokenText, code: &str) -> TokenText {
    let next = next_key(world);
    hold_with(token, &next, BlockBuilder::new().code(code).unwrap())
}

pub(crate) fn hold_with(token: &TokenText, next: &KeyPair, block: BlockBuilder) -> TokenText {
    let longer = stock(token).append_with_keypair(next, block).unwrap();
    TokenText::new(longer.to_base64().unwrap()).unwrap()
}

/// A block that an attestation key signed for one place, not yet appended.
pub(crate) fn attested_block(key: &AttestationKey, open: &[u8], code: &str) -> Vec<u8> {
    let private = biscuit_auth::PrivateKey::from_bytes(&key.secret(), Algorithm::Ed25519).unwrap();
    let request = biscuit_auth::UnverifiedBiscuit::from(open).unwrap();
    let request = request.third_party_request().unwrap();
    let block = BlockBuilder::new().code(code).unwrap();
    let block = request.create_block(&private, block).unwrap();
    block.serialize().unwrap()
}

/// Puts an attested block onto an open token, with a next key of one's choice.
pub(crate) fn attach(open: &[u8], block: &[u8], next: KeyPair) -> TokenText {
    let token = biscuit_auth::UnverifiedBiscuit::from(open).unwrap();
    let longer = token.append_third_party_with_keypair(block, next).unwrap();
    TokenText::new(longer.to_base64().unwrap()).unwrap()
}

/// Attests any block on any open token, with the authority's key.
pub(crate) fn attest_by_hand(world: &mut World, open: &[u8], code: &str) -> TokenText {
    let block = attested_block(&world.key, open, code);
    let next = next_key(world);
    attach(open, &block, next)
}

/// A block's bytes with the keys and the payload version it is signed under.
pub(crate) struct Handmade<'a> {
    pub(crate) data: Vec<u8>,
    pub(crate) attested_by: Option<&'a SigningKey>,
    pub(crate) payload: u32,
    pub(crate) next: &'a SigningKey,
}

pub(crate) fn signing_key(key: &AttestationKey) -> SigningKey {
    SigningKey::from_bytes(key.secret().as_slice().try_into().unwrap())
}

/// A token of one block of any bytes, signed by a root key with this id.
pub(crate) fn begin(
    root: &SigningKey,
    id: u32,
    data: Vec<u8>,
    next: &SigningKey,
) -> schema::Biscuit {
    let message = [&data[..], &[0; 4], next.verifying_key().as_bytes()].concat();
    schema::Biscuit {
        root_key_id: Some(id),
        authority: schema::SignedBlock {
            block: data,
            next_key: public(next),
            signature: root.sign(&message).to_vec(),
            external_signature: None,
            version: None,
        },
        blocks: Vec::new(),
        proof: schema::Proof {
            content: Some(Content::NextSecret(next.to_bytes().to_vec())),
        },
    }
}

fn public(key: &SigningKey) -> schema::PublicKey {
    schema::PublicKey {
        algorithm: 0,
        key: key.verifying_key().to_bytes().to_vec(),
    }
}

/// Appends a block of any bytes to an open token and signs it correctly.
pub(crate) fn append(open: &schema::Biscuit, block: &Handmade<'_>) -> schema::Biscuit {
    let proof = Content::NextSecret(block.next.to_bytes().to_vec());
    append_before(open, block, &public(block.next), proof)
}

/// The same before a next key and a proof of one's choice.
pub(crate) fn append_before(
    open: &schema::Biscuit,
    block: &Handmade<'_>,
    next_key: &schema::PublicKey,
    proof: Content,
) -> schema::Biscuit {
    let Some(Content::NextSecret(secret)) = &open.proof.content else {
        panic!("the token is sealed");
    };
    let key = SigningKey::from_bytes(secret.as_slice().try_into().unwrap());
    let previous = &open.blocks.last().unwrap_or(&open.authority).signature;
    let version = 1_u32.to_le_bytes();
    let external = block.attested_by.map(|attesting| {
        let message = [
            b"\0EXTERNAL\0\0VERSION\0",
            version.as_slice(),
            b"\0PAYLOAD\0",
            &block.data,
            b"\0PREVSIG\0",
            previous,
        ];
        schema::ExternalSignature {
            signature: attesting.sign(&message.concat()).to_vec(),
            public_key: public(attesting),
        }
    });
    let external_signature = external.as_ref().map_or(&[][..], |e| &e.signature);
    let next = next_key.key.as_slice();
    let mut message = match block.payload {
        0 => [&block.data, external_signature, &[0; 4], next].concat(),
        _ => [
            b"\0BLOCK\0\0VERSION\0",
            version.as_slice(),
            b"\0PAYLOAD\0",
            &block.data,
            b"\0ALGORITHM\0",
            &[0; 4],
            b"\0NEXTKEY\0",
            next,
            b"\0PREVSIG\0",
            previous,
        ]
        .concat(),
    };
    if block.payload > 0 && external.is_some() {
        message.extend_from_slice(b"\0EXTERNALSIG\0");
        message.extend_from_slice(external_signature);
    }
    let mut longer = open.clone();
    longer.blocks.push(schema::SignedBlock {
        block: block.data.clone(),
        next_key: next_key.clone(),
        signature: key.sign(&message).to_vec(),
        external_signature: external,
        version: (block.payload > 0).then_some(block.payload),
    });
    longer.proof.content = Some(proof);
    longer
}
