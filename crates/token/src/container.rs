//! The outer container of a token: signed blocks and the proof, decoded strictly.
//!
//! The container is malleable in the stock crate: unknown fields, an explicit
//! default, another order of fields all decode. Here only the one canonical
//! form is read, so that a token has one text.

use biscuit_auth::format::schema;
use prost::Message;

use crate::denial::Denial;
use crate::id::RootKeyId;

/// The most blocks a token may have: A, four G, S and two H.
pub(crate) const MAX_BLOCKS: usize = 8;

pub(crate) struct Container {
    pub(crate) root_key_id: RootKeyId,
    pub(crate) blocks: Vec<SignedBlock>,
    pub(crate) proof: Proof,
    /// Whether the bytes were the one encoding that this container has.
    pub(crate) canonical: bool,
    /// For each block, where its encoding ends in the canonical bytes. What
    /// comes before is the same in every token that starts with these blocks.
    ends: Vec<usize>,
}

#[derive(PartialEq, Eq)]
pub(crate) struct SignedBlock {
    /// The block's own protobuf encoding, which is what is signed.
    pub(crate) data: Vec<u8>,
    pub(crate) next_key: [u8; 32],
    pub(crate) signature: [u8; 64],
    pub(crate) external: Option<ExternalSignature>,
    pub(crate) payload: Payload,
}

#[derive(PartialEq, Eq)]
pub(crate) struct ExternalSignature {
    pub(crate) key: [u8; 32],
    pub(crate) signature: [u8; 64],
}

/// Which bytes a block's signature covers (Biscuit's signature payload versions).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// The block and the next key; not what precedes them.
    V0,
    /// The previous signature too.
    V1,
}

pub(crate) enum Proof {
    /// The secret of the last block's next key: blocks can be appended.
    Open([u8; 32]),
    /// A signature over the last block: nothing can be appended.
    Sealed([u8; 64]),
}

impl Container {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Denial> {
        let raw = schema::Biscuit::decode(bytes)
            .map_err(|_| Denial::Malformed("it is not a Biscuit container"))?;
        let canonical = raw.encode_to_vec() == bytes;

        let ends = ends(&raw);
        let count = 1 + raw.blocks.len();
        if count > MAX_BLOCKS {
            let why = format!("a token has at most {MAX_BLOCKS} blocks, this one has {count}");
            return Err(Denial::outside(MAX_BLOCKS, why));
        }
        let signed = std::iter::once(raw.authority).chain(raw.blocks);
        let blocks = signed
            .enumerate()
            .map(|(i, block)| SignedBlock::read(i, block))
            .collect::<Result<Vec<_>, _>>()?;
        let proof = Proof::read(raw.proof)?;
        let root_key_id = raw
            .root_key_id
            .map(RootKeyId::new)
            .ok_or_else(|| Denial::UnknownKey("a root key without an id".to_owned()))?;
        Ok(Self {
            root_key_id,
            blocks,
            proof,
            canonical,
            ends,
        })
    }

    /// Where the first `count` blocks and the root key id before them end in the
    /// canonical bytes that this container was decoded from.
    pub(crate) fn end_of(&self, count: usize) -> Option<usize> {
        self.ends.get(count.checked_sub(1)?).copied()
    }
}

/// Fields are encoded in the order of their numbers, so that the blocks follow
/// the root key id and come before the proof.
fn ends(raw: &schema::Biscuit) -> Vec<usize> {
    let hint = raw.root_key_id.as_ref();
    let mut end = hint.map_or(0, |id| prost::encoding::uint32::encoded_len(1, id));
    let blocks = std::iter::once(&raw.authority).chain(&raw.blocks);
    let end_of = |block: &schema::SignedBlock| {
        // The field's key is one byte: its number is below 16.
        let length = block.encoded_len();
        end += 1 + prost::length_delimiter_len(length) + length;
        end
    };
    blocks.map(end_of).collect()
}

impl SignedBlock {
    pub(crate) fn read(i: usize, raw: schema::SignedBlock) -> Result<Self, Denial> {
        let payload = match raw.version {
            None => Payload::V0,
            Some(1) => Payload::V1,
            Some(_) => return Err(Denial::Malformed("a signature version is not known")),
        };
        let external = raw
            .external_signature
            .map(|ext| -> Result<_, Denial> {
                Ok(ExternalSignature {
                    key: ed25519_key(i, ext.public_key)?,
                    signature: sized(ext.signature)?,
                })
            })
            .transpose()?;
        Ok(Self {
            data: raw.block,
            next_key: ed25519_key(i, raw.next_key)?,
            signature: sized(raw.signature)?,
            external,
            payload,
        })
    }
}

impl Proof {
    pub(crate) fn read(raw: schema::Proof) -> Result<Self, Denial> {
        match raw.content {
            Some(schema::proof::Content::NextSecret(secret)) => sized(secret).map(Self::Open),
            Some(schema::proof::Content::FinalSignature(sig)) => sized(sig).map(Self::Sealed),
            None => Err(Denial::Malformed("it has no proof")),
        }
    }

    pub(crate) const fn is_sealed(&self) -> bool {
        match self {
            Self::Sealed(_) => true,
            Self::Open(_) => false,
        }
    }
}

// SECURITY: P-256 signatures are malleable in the stock crate, and a second
// algorithm would be a second way to spell a token. Ed25519 only.
fn ed25519_key(block: usize, key: schema::PublicKey) -> Result<[u8; 32], Denial> {
    if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
        return Err(Denial::outside(block, "only Ed25519 keys are allowed"));
    }
    sized(key.key)
}

fn sized<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], Denial> {
    <[u8; N]>::try_from(bytes)
        .map_err(|_| Denial::Malformed("a key or signature is of another size than Ed25519's"))
}
