//! The signatures of a token, checked in order; the first that does not fit stops.
//!
//! Formats: the Biscuit specification, "signature payloads" version 0 and 1.
//! Every check is `verify_strict` (RFC 8032 without its lenient readings), so
//! that a signature has one form.

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};

use crate::container::{Container, Payload, Proof, SignedBlock};
use crate::denial::Denial;
use crate::keys::KeyRing;

/// Ed25519's number in Biscuit's `PublicKey.algorithm`.
const ED25519: [u8; 4] = 0_i32.to_le_bytes();
const VERSION_1: [u8; 4] = 1_u32.to_le_bytes();

/// Checks that the container's keys are known. Before any block is read, and
/// long before a signature costs anything.
pub(crate) fn known_keys(container: &Container, ring: &KeyRing) -> Result<(), Denial> {
    let unknown = |what: String| Err(Denial::UnknownKey(what));
    if ring.root(container.root_key_id).is_none() {
        return unknown(format!("root key {}", container.root_key_id));
    }
    for (i, block) in container.blocks.iter().enumerate() {
        if let Some(external) = &block.external
            && ring.attestation(&external.key).is_none()
        {
            return unknown(format!("the key that attested block {i}"));
        }
    }
    Ok(())
}

/// Checks every signature and the proof.
pub(crate) fn verify(container: &Container, ring: &KeyRing) -> Result<(), Denial> {
    let bad = || Denial::BadSignature { block: 0 };
    let root = ring.root(container.root_key_id).ok_or_else(bad)?;
    let (first, rest) = container.blocks.split_first().ok_or_else(bad)?;
    let mut message = Vec::with_capacity(1024);
    verify_block(first, None, root, ring, &mut message).ok_or_else(bad)?;
    verify_rest(first, rest, 1, &container.proof, ring)
}

/// Checks the signatures of what follows a block whose own signatures fit, and
/// the proof. `at` is the index of the first of `rest`.
pub(crate) fn verify_rest(
    before: &SignedBlock,
    rest: &[SignedBlock],
    at: usize,
    proof: &Proof,
    ring: &KeyRing,
) -> Result<(), Denial> {
    let mut message = Vec::with_capacity(1024);
    let mut previous = before;
    for (block, i) in rest.iter().zip(at..) {
        // A block's next key is looked at once something is verified with it.
        let key = VerifyingKey::from_bytes(&previous.next_key);
        let key = key.map_err(|_| Denial::BadSignature { block: i - 1 })?;
        verify_block(block, Some(previous), &key, ring, &mut message)
            .ok_or(Denial::BadSignature { block: i })?;
        previous = block;
    }
    let block = at + rest.len();
    verify_proof(proof, previous, &mut message).ok_or(Denial::BadSignature { block })
}

fn verify_block(
    block: &SignedBlock,
    previous: Option<&SignedBlock>,
    key: &VerifyingKey,
    ring: &KeyRing,
    message: &mut Vec<u8>,
) -> Option<()> {
    block_message(block, previous, message);
    strict(key, message, &block.signature)?;
    if let Some(external) = &block.external {
        external_message(block, previous?, message);
        strict(
            ring.attestation(&external.key)?,
            message,
            &external.signature,
        )?;
    }
    Some(())
}

fn verify_proof(proof: &Proof, last: &SignedBlock, message: &mut Vec<u8>) -> Option<()> {
    match proof {
        Proof::Open(secret) => {
            let derived = SigningKey::from_bytes(secret).verifying_key();
            (derived.as_bytes() == &last.next_key).then_some(())
        }
        Proof::Sealed(signature) => {
            message.clear();
            message.extend_from_slice(&last.data);
            message.extend_from_slice(&ED25519);
            message.extend_from_slice(&last.next_key);
            message.extend_from_slice(&last.signature);
            let key = VerifyingKey::from_bytes(&last.next_key).ok()?;
            strict(&key, message, signature)
        }
    }
}

fn strict(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> Option<()> {
    key.verify_strict(message, &Signature::from_bytes(signature))
        .ok()
}

fn block_message(block: &SignedBlock, previous: Option<&SignedBlock>, out: &mut Vec<u8>) {
    out.clear();
    match block.payload {
        Payload::V0 => {
            out.extend_from_slice(&block.data);
            if let Some(external) = &block.external {
                out.extend_from_slice(&external.signature);
            }
            out.extend_from_slice(&ED25519);
            out.extend_from_slice(&block.next_key);
        }
        Payload::V1 => {
            out.extend_from_slice(b"\0BLOCK\0\0VERSION\0");
            out.extend_from_slice(&VERSION_1);
            out.extend_from_slice(b"\0PAYLOAD\0");
            out.extend_from_slice(&block.data);
            out.extend_from_slice(b"\0ALGORITHM\0");
            out.extend_from_slice(&ED25519);
            out.extend_from_slice(b"\0NEXTKEY\0");
            out.extend_from_slice(&block.next_key);
            if let Some(previous) = previous {
                out.extend_from_slice(b"\0PREVSIG\0");
                out.extend_from_slice(&previous.signature);
            }
            if let Some(external) = &block.external {
                out.extend_from_slice(b"\0EXTERNALSIG\0");
                out.extend_from_slice(&external.signature);
            }
        }
    }
}

fn external_message(block: &SignedBlock, previous: &SignedBlock, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(b"\0EXTERNAL\0\0VERSION\0");
    out.extend_from_slice(&VERSION_1);
    out.extend_from_slice(b"\0PAYLOAD\0");
    out.extend_from_slice(&block.data);
    out.extend_from_slice(b"\0PREVSIG\0");
    out.extend_from_slice(&previous.signature);
}
