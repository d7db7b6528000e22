//! The authority's own form of a chain: block 0 and grants, open, so that a
//! grant or a session can be attested on top.
//!
//! It stays in the authority's store. What leaves is a sealed grant or an
//! access token.

use std::fmt;

use biscuit_auth::builder::{Algorithm, BlockBuilder, fact, string};
use biscuit_auth::{Biscuit, KeyPair, UnverifiedBiscuit};
use rand::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use crate::caveat::Caveat;
use crate::container::Container;
use crate::denial::Denial;
use crate::id::{InvalidId, SessionId};
use crate::keys::AttestationKey;
use crate::profile::{ChainProfile, Grant, MAX_GRANTS, Profile, Subject, walk};
use crate::text::{MAX_TEXT, TokenText};
use crate::time::Timestamp;

/// Room kept for a session and two holder's blocks on top of a grant, in bytes of text.
const ROOM_FOR_SESSION: usize = 2 * 1024;

/// Why a chain cannot be built or extended.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// One more grant would leave no room for a session.
    #[error("the chain would be too long: at most {MAX_GRANTS} grants, and room for a session")]
    TooLong,
    /// The stored bytes are not an open chain of the profile.
    #[error("the stored chain does not read: {0}")]
    Stored(Denial),
    /// A name inside is not well formed.
    #[error(transparent)]
    Invalid(#[from] InvalidId),
    /// The Biscuit library refused to build a block.
    #[error("a block cannot be built: {0}")]
    Build(#[from] biscuit_auth::error::Token),
}

impl From<Denial> for ChainError {
    fn from(denial: Denial) -> Self {
        Self::Stored(denial)
    }
}

/// An open chain `A G*`. Its bytes hold the secret that appends to it.
pub struct Chain {
    bytes: Zeroizing<Vec<u8>>,
}

/// What an exchange gives besides the grant it activates.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session's id.
    pub id: SessionId,
    /// The one origin it is for.
    pub audience: String,
    /// Its end.
    pub not_after: Timestamp,
    /// Further caveats: scopes, holder, method, path, operation.
    pub caveats: Vec<Caveat>,
}

impl Chain {
    /// Takes stored bytes back. They are decoded when they are used.
    #[must_use]
    pub const fn from_stored(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { bytes }
    }

    /// The bytes to store, under encryption.
    #[must_use]
    pub fn to_stored(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn from_biscuit(biscuit: &Biscuit) -> Result<Self, ChainError> {
        Ok(Self {
            bytes: Zeroizing::new(biscuit.to_vec()?),
        })
    }

    /// What the chain says. Fails for a bare authority block.
    pub fn profile(&self) -> Result<Box<ChainProfile>, ChainError> {
        match walk(&Container::decode(&self.bytes)?)? {
            Profile::Chain(chain) => Ok(chain),
            Profile::Root(_) => Err(Denial::Malformed("it is not a chain").into()),
        }
    }

    /// Whether a presented token has the same blocks, byte for byte. The proof
    /// differs: sealed outside, open in the store.
    #[must_use]
    pub fn same_blocks(&self, presented: &TokenText) -> bool {
        let Ok(bytes) = presented.decode() else {
            return false;
        };
        match (Container::decode(&self.bytes), Container::decode(&bytes)) {
            (Ok(stored), Ok(presented)) => {
                presented.canonical && stored.blocks_eq(&presented) && presented.proof.is_sealed()
            }
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// Attests a grant on top of the chain.
    pub fn append_grant(
        &self,
        grant: &Grant,
        key: &AttestationKey,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Self, ChainError> {
        let subject = match &grant.subject {
            Subject::Device(id) => fact("device", &[string(&id.to_string())]),
            Subject::Service(name) => fact("service", &[string(name.as_str())]),
        };
        let mut block = BlockBuilder::new()
            .fact(fact("grant", &[string(&grant.id.to_string())]))?
            .fact(subject)?
            .fact(fact("role", &[string(grant.role.as_str())]))?;
        block = Caveat::Scopes(grant.scopes.clone()).add_to(block)?;
        if let Some(end) = grant.not_after {
            block = Caveat::NotAfter(end).add_to(block)?;
        }
        let open = self.attestable()?;
        // Block 0 and the grants so far.
        if open.block_count() > MAX_GRANTS {
            return Err(ChainError::TooLong);
        }
        let longer = attest(&open, block, key, rng)?;
        let chain = Self {
            bytes: Zeroizing::new(longer.to_vec()?),
        };
        if chain.bytes.len().div_ceil(3) * 4 + ROOM_FOR_SESSION > MAX_TEXT {
            return Err(ChainError::TooLong);
        }
        Ok(chain)
    }

    /// Attests a session on top of the chain: an access token, open, so that
    /// its holder can narrow it.
    pub fn append_session(
        &self,
        session: &NewSession,
        key: &AttestationKey,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<TokenText, ChainError> {
        let leaf = self.profile()?.leaf().id;
        let names = [string(&leaf.to_string()), string(&session.id.to_string())];
        let mut block = BlockBuilder::new().fact(fact("session", &names))?;
        block = Caveat::Audience([session.audience.clone()].into()).add_to(block)?;
        block = Caveat::NotAfter(session.not_after).add_to(block)?;
        for caveat in &session.caveats {
            block = caveat.add_to(block)?;
        }
        let token = attest(&self.attestable()?, block, key, rng)?;
        Ok(TokenText::encode(&token.to_vec()?)?)
    }

    /// The chain as something to attest on.
    ///
    /// SECURITY: a block that was attested over a holder's block could be moved
    /// to another token with the same holder's block, since that one does not
    /// sign what precedes it; and what is attested over a session would be
    /// active from its birth. Only block 0 and attested grants are built on.
    fn attestable(&self) -> Result<UnverifiedBiscuit, ChainError> {
        let container = Container::decode(&self.bytes)?;
        if container.blocks.len() > 1 {
            match walk(&container)? {
                Profile::Chain(chain) if chain.session.is_none() => {}
                Profile::Chain(_) | Profile::Root(_) => {
                    let why = "only grants are built on: this has a session or is no chain";
                    return Err(Denial::outside(container.blocks.len() - 1, why).into());
                }
            }
        }
        Ok(UnverifiedBiscuit::from(self.bytes.as_slice())?)
    }

    /// The sealed form, which is what a device gets: nothing can be appended to it.
    pub fn seal(&self) -> Result<TokenText, ChainError> {
        let sealed = UnverifiedBiscuit::from(self.bytes.as_slice())?.seal()?;
        Ok(TokenText::encode(&sealed.to_vec()?)?)
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} bytes)", self.bytes.len())
    }
}

/// What a holder gets by adding its own block offline, with no key at all.
///
/// Fails for a sealed token, and for one that has no session: grants are
/// narrowed by the authority only.
pub fn attenuate(
    token: &TokenText,
    caveats: &[Caveat],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<TokenText, ChainError> {
    let bytes = token.decode()?;
    let Profile::Chain(chain) = walk(&Container::decode(&bytes)?)? else {
        return Err(Denial::RootTokenNotAccepted.into());
    };
    if chain.session.is_none() {
        return Err(Denial::GrantNotAccepted.into());
    }
    let mut block = BlockBuilder::new();
    for caveat in caveats {
        block = caveat.add_to(block)?;
    }
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    let narrowed = UnverifiedBiscuit::from(bytes.as_slice())?.append_with_keypair(&next, block)?;
    let text = TokenText::encode(&narrowed.to_vec()?)?;
    // What does not read here would not read anywhere: say so now.
    walk(&Container::decode(&text.decode()?)?)?;
    Ok(text)
}

fn attest(
    open: &UnverifiedBiscuit,
    block: BlockBuilder,
    key: &AttestationKey,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<UnverifiedBiscuit, ChainError> {
    let private = key.pair().private();
    let attested = open.third_party_request()?.create_block(&private, block)?;
    let next = KeyPair::new_with_rng(Algorithm::Ed25519, rng);
    Ok(open.append_third_party_with_keypair(&attested.serialize()?, next)?)
}

impl Container {
    fn blocks_eq(&self, other: &Self) -> bool {
        self.root_key_id == other.root_key_id && self.blocks == other.blocks
    }
}
