//! The signatures of a token, checked in order; the first that does not fit stops.
//!
//! Formats: the Biscuit specification, "signature payloads" version 0 and 1.
//! Every check is `verify_strict` (RFC 8032 without its lenient readings), so
//! that a signature has one form.

use std::ops::Range;

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
    let key = verify_prefix(container, ring, container.blocks.len())?;
    verify_rest(container, ring, container.blocks.len(), key)
}

/// Checks the signatures of the first `count` blocks. Gives the key that what
/// follows must be signed with: the same for every token with these blocks.
pub(crate) fn verify_prefix(
    container: &Container,
    ring: &KeyRing,
    count: usize,
) -> Result<VerifyingKey, Denial> {
    let root = ring.root(container.root_key_id);
    let root = root.ok_or(Denial::BadSignature { block: 0 })?;
    verify_blocks(container, ring, 0..count, *root)
}

/// Checks the signatures of the blocks from `start` on, and the proof.
pub(crate) fn verify_rest(
    container: &Container,
    ring: &KeyRing,
    start: usize,
    key: VerifyingKey,
) -> Result<(), Denial> {
    let count = container.blocks.len();
    let bad = || Denial::BadSignature { block: count };
    let last = container.blocks.last().ok_or_else(bad)?;
    let mut next_key = Some(key);
    if start < count {
        let key = verify_blocks(container, ring, start..count - 1, key)?;
        verify_block_at(
            container,
            count - 1,
            &key,
            ring,
            &mut Vec::with_capacity(1024),
        )?;
        // Nothing is verified with the last key of an open token.
        next_key = None;
    }
    verify_proof(&container.proof, last, next_key).ok_or_else(bad)
}

fn verify_blocks(
    container: &Container,
    ring: &KeyRing,
    range: Range<usize>,
    mut key: VerifyingKey,
) -> Result<VerifyingKey, Denial> {
    let mut message = Vec::with_capacity(1024);
    for i in range {
        let block = verify_block_at(container, i, &key, ring, &mut message)?;
        let next = VerifyingKey::from_bytes(&block.next_key);
        key = next.map_err(|_| Denial::BadSignature { block: i })?;
    }
    Ok(key)
}

fn verify_block_at<'a>(
    container: &'a Container,
    i: usize,
    key: &VerifyingKey,
    ring: &KeyRing,
    message: &mut Vec<u8>,
) -> Result<&'a SignedBlock, Denial> {
    let bad = || Denial::BadSignature { block: i };
    let block = container.blocks.get(i).ok_or_else(bad)?;
    let previous = i.checked_sub(1).and_then(|p| container.blocks.get(p));
    verify_block(block, previous, key, ring, message).ok_or_else(bad)?;
    Ok(block)
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

/// `key` is the last block's next key, where it is at hand.
fn verify_proof(proof: &Proof, last: &SignedBlock, key: Option<VerifyingKey>) -> Option<()> {
    match proof {
        Proof::Open(secret) => {
            let derived = SigningKey::from_bytes(secret).verifying_key();
            (derived.as_bytes() == &last.next_key).then_some(())
        }
        Proof::Sealed(signature) => {
            let mut message = Vec::with_capacity(1024);
            message.extend_from_slice(&last.data);
            message.extend_from_slice(&ED25519);
            message.extend_from_slice(&last.next_key);
            message.extend_from_slice(&last.signature);
            let key = key.or_else(|| VerifyingKey::from_bytes(&last.next_key).ok())?;
            strict(&key, &message, signature)
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
