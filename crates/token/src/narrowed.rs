//! A token whose session was verified before: what its holder added, read alone.
//!
//! The bytes of a token start with those of its session, whoever narrows it. So
//! they are taken for known by what they are, without being read again.
//!
//! INVARIANT: what is read here reads the same as a whole. Where anything but a
//! signature is not as it should be this gives nothing, and the whole token is
//! read, which knows the reason.

use biscuit_auth::format::schema;
use prost::Message;
use prost::encoding::{decode_varint, encoded_len_varint};

use crate::caveat::Caveat;
use crate::container::{MAX_BLOCKS, Proof, SignedBlock};
use crate::denial::Denial;
use crate::keys::KeyRing;
use crate::profile::{MAX_HOLDER_BLOCKS, walk_holder};
use crate::signature;
use crate::symbols::Symbols;

/// The keys of the container's fields, number and wire type.
const ROOT_KEY_ID: u8 = 0x08;
const AUTHORITY: u8 = 0x12;
const BLOCK: u8 = 0x1a;
const PROOF: u8 = 0x22;

/// The parts of a container, unread.
pub(crate) struct Frame<'a> {
    bytes: &'a [u8],
    authority: &'a [u8],
    blocks: Vec<Part<'a>>,
    proof: &'a [u8],
}

/// A block, and where it ends in the bytes of its container.
struct Part<'a> {
    content: &'a [u8],
    end: usize,
}

/// A place where a token's session may end.
pub(crate) struct Tail<'a> {
    /// The bytes up to there.
    pub(crate) before: &'a [u8],
    session: &'a [u8],
    /// The index of the first block behind it.
    at: usize,
    added: &'a [Part<'a>],
}

/// What a holder added to a session.
pub(crate) struct Added {
    session: SignedBlock,
    at: usize,
    blocks: Vec<SignedBlock>,
    proof: Proof,
    pub(crate) holder: Vec<Vec<Caveat>>,
}

impl<'a> Frame<'a> {
    /// The parts in canonical order.
    pub(crate) fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        (rest.split_off_first()? == &ROOT_KEY_ID).then_some(())?;
        decode_varint(&mut rest).ok()?;
        let authority = field(&mut rest, AUTHORITY)?;
        let mut blocks = Vec::with_capacity(MAX_BLOCKS);
        while let Some(content) = field(&mut rest, BLOCK) {
            let end = bytes.len() - rest.len();
            blocks.push(Part { content, end });
            if blocks.len() == MAX_BLOCKS {
                return None;
            }
        }
        let proof = field(&mut rest, PROOF)?;
        rest.is_empty().then_some(Self {
            bytes,
            authority,
            blocks,
            proof,
        })
    }

    /// Where its session may end: at its last block, or before what a holder may add.
    pub(crate) fn tails(&self) -> impl Iterator<Item = Tail<'_>> {
        (0..=MAX_HOLDER_BLOCKS).map_while(|added| {
            let count = self.blocks.len().checked_sub(added)?;
            let (signed, added) = self.blocks.split_at_checked(count)?;
            let session = signed.last()?;
            Some(Tail {
                before: self.bytes.get(..session.end)?,
                session: session.content,
                at: count + 1,
                added,
            })
        })
    }
}

impl Added {
    /// Reads what is behind the session, whose bytes are known.
    pub(crate) fn read(frame: &Frame<'_>, tail: &Tail<'_>) -> Option<Self> {
        let session = schema::SignedBlock::decode(tail.session).ok()?;
        let session = SignedBlock::read(tail.at - 1, session).ok()?;
        let blocks = tail.added.iter().zip(tail.at..);
        let blocks = blocks
            .map(|(part, i)| SignedBlock::read(i, canonical(part.content)?).ok())
            .collect::<Option<Vec<_>>>()?;
        let proof = Proof::read(canonical(frame.proof)?).ok()?;

        // Block 0 starts the table that the holder's blocks go on with.
        let authority = schema::SignedBlock::decode(frame.authority).ok()?;
        let authority = schema::Block::decode(authority.block.as_slice()).ok()?;
        let mut symbols = Symbols::default();
        symbols.extend(0, authority.symbols).ok()?;
        let holder = walk_holder(&blocks, tail.at, symbols).ok()?;
        Some(Self {
            session,
            at: tail.at,
            blocks,
            proof,
            holder,
        })
    }

    /// Checks the signatures behind the session, and the proof.
    pub(crate) fn verify(&self, keys: &KeyRing) -> Result<(), Denial> {
        signature::verify_rest(&self.session, &self.blocks, self.at, &self.proof, keys)
    }
}

/// Takes the field of this key off, if it is next and its length is in the fewest bytes.
fn field<'a>(rest: &mut &'a [u8], key: u8) -> Option<&'a [u8]> {
    let mut after = *rest;
    (after.split_off_first()? == &key).then_some(())?;
    let before = after.len();
    let length = decode_varint(&mut after).ok()?;
    if encoded_len_varint(length) != before - after.len() {
        return None;
    }
    let content = after.split_off(..usize::try_from(length).ok()?)?;
    // Only now: a field that is not taken is left where it is.
    *rest = after;
    Some(content)
}

fn canonical<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    (message.encode_to_vec() == bytes).then_some(message)
}
