//! The root key and what it alone can do: mint the root token and authority blocks.

use std::fmt;

use biscuit_auth::builder::{Algorithm, fact, string};
use biscuit_auth::datalog::SymbolTable;
use biscuit_auth::{Biscuit, BiscuitBuilder};
use rand::{CryptoRng, RngCore};
use zeroize::{Zeroize, Zeroizing};

use crate::chain::{Chain, ChainError};
use crate::denial::Denial;
use crate::id::{AuthorityId, InvalidId, RootKeyId};
use crate::keys::{PublicKey, key_pair, public_key};
use crate::profile::Profile;
use crate::scope::ScopeSet;
use crate::text::TokenText;
use crate::untrusted::Untrusted;

/// The root private key in clear.
///
/// INVARIANT (I2): a value of this type exists only while an operation that
/// made the key, or that presented the root token, is running. It is wiped
/// when dropped.
pub struct RootKey {
    id: RootKeyId,
    // On the heap, where it is wiped: what is moved leaves copies behind.
    pair: Box<biscuit_auth::KeyPair>,
}

/// The root token: a sealed Biscuit with the one fact `root("<key id>")`.
///
/// Its bytes are the secret from which the key that seals the root private key
/// is derived. Its signature proves nothing that the seal does not.
#[derive(Clone, Debug)]
pub struct RootToken {
    id: RootKeyId,
    text: TokenText,
}

impl RootKey {
    /// Makes a new root key.
    pub fn generate(id: RootKeyId, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        without_residue(|| Self {
            id,
            pair: Box::new(biscuit_auth::KeyPair::new_with_rng(Algorithm::Ed25519, rng)),
        })
    }

    /// Restores a root key from the 32 secret bytes that the root token unsealed.
    pub fn from_secret(id: RootKeyId, secret: &[u8; 32]) -> Result<Self, InvalidId> {
        without_residue(|| {
            let pair = Box::new(key_pair(secret)?);
            Ok(Self { id, pair })
        })
    }

    /// The 32 secret bytes, to be sealed under the root token at once.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<Vec<u8>> {
        without_residue(|| self.pair.private().to_bytes())
    }

    /// The key's id.
    #[must_use]
    pub const fn id(&self) -> RootKeyId {
        self.id
    }

    /// The public key.
    pub fn public(&self) -> Result<PublicKey, InvalidId> {
        public_key(&self.pair)
    }

    /// Mints the root token of this key.
    pub fn mint_root_token(
        &self,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<RootToken, ChainError> {
        let builder = BiscuitBuilder::new().fact(fact("root", &[string(&self.id.to_string())]))?;
        let sealed = self.build(builder, rng)?.seal()?;
        Ok(RootToken {
            id: self.id,
            text: TokenText::encode(&sealed.to_vec()?)?,
        })
    }

    /// Mints a fresh authority block with `scopes`: the start of a chain.
    pub fn mint_authority(
        &self,
        id: AuthorityId,
        scopes: &ScopeSet,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Chain, ChainError> {
        let mut builder =
            BiscuitBuilder::new().fact(fact("authority", &[string(&id.to_string())]))?;
        for scope in scopes.iter() {
            builder = builder.fact(fact("scope", &[string(scope.as_str())]))?;
        }
        Chain::from_biscuit(&self.build(builder, rng)?)
    }

    fn build(
        &self,
        builder: BiscuitBuilder,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Biscuit, ChainError> {
        let builder = builder.root_key_id(self.id.get());
        let build = || builder.build_with_rng(&self.pair, SymbolTable::default(), rng);
        Ok(without_residue(build)?)
    }
}

/// Runs what has the root private key in hand, then wipes the part of the stack
/// that it used: a value that was moved or returned leaves its bytes there.
fn without_residue<T>(run: impl FnOnce() -> T) -> T {
    #[inline(never)]
    fn in_a_frame_of_its_own<T>(run: impl FnOnce() -> T) -> T {
        run()
    }
    #[inline(never)]
    #[expect(clippy::large_stack_arrays, reason = "the stack is what is wiped")]
    fn wipe() {
        let mut stack = [0_u8; 64 * 1024];
        stack.zeroize();
        std::hint::black_box(&stack);
    }
    let done = in_a_frame_of_its_own(run);
    wipe();
    done
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({})", self.id)
    }
}

impl RootToken {
    /// Reads a text of the form of a root token. Whether it is genuine is seen
    /// when the seal of the root key opens under it.
    pub fn read(text: &TokenText) -> Result<Self, Denial> {
        let read = Untrusted::inspect(text)?;
        match read.claims() {
            Profile::Root(claimed) if *claimed == read.root_key_id().to_string() => Ok(Self {
                id: read.root_key_id(),
                text: text.clone(),
            }),
            Profile::Root(_) => Err(Denial::outside(0, "a root token names the key it is of")),
            Profile::Chain(_) => Err(Denial::Malformed("it is not a root token")),
        }
    }

    /// The key id that the token names.
    #[must_use]
    pub const fn id(&self) -> RootKeyId {
        self.id
    }

    /// The token's text, to be shown once.
    #[must_use]
    pub const fn text(&self) -> &TokenText {
        &self.text
    }

    /// The canonical container bytes: the secret from which the sealing key is derived.
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>, Denial> {
        self.text.decode()
    }
}
