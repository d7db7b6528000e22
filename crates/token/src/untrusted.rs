//! A token by itself, without a request: `TokenText` → [`Untrusted`] → [`Verified`].

use std::fmt;

use crate::container::Container;
use crate::denial::Denial;
use crate::id::RootKeyId;
use crate::keys::KeyRing;
use crate::profile::{self, Profile};
use crate::signature;
use crate::text::TokenText;

/// A token that is of the profile and names known keys. Nothing it says is trusted.
pub struct Untrusted {
    pub(crate) container: Container,
    pub(crate) profile: Profile,
}

/// A token whose signatures fit.
#[derive(Debug)]
pub struct Verified {
    profile: Profile,
    root_key_id: RootKeyId,
}

impl Untrusted {
    /// Decodes a text and walks its blocks. Costs microseconds, whatever the text.
    pub fn read(text: &TokenText, keys: &KeyRing) -> Result<Self, Denial> {
        Self::of_known_keys(&text.decode()?, keys)
    }

    /// The same without asking whether the keys are known, to show what a token says.
    pub fn inspect(text: &TokenText) -> Result<Self, Denial> {
        Self::walk(&text.decode()?, |_| Ok(()))
    }

    pub(crate) fn of_known_keys(bytes: &[u8], keys: &KeyRing) -> Result<Self, Denial> {
        Self::walk(bytes, |container| signature::known_keys(container, keys))
    }

    fn walk(
        bytes: &[u8],
        check_keys: impl FnOnce(&Container) -> Result<(), Denial>,
    ) -> Result<Self, Denial> {
        let container = Container::decode(bytes)?;
        check_keys(&container)?;
        if !container.canonical {
            return Err(Denial::Malformed("its container is not canonical"));
        }
        let profile = profile::walk(&container)?;
        if let Profile::Chain(chain) = &profile
            && chain.session.is_none()
            && !container.proof.is_sealed()
        {
            let why = "a chain without a session must be sealed";
            return Err(Denial::outside(container.blocks.len() - 1, why));
        }
        Ok(Self { container, profile })
    }

    /// Checks the signatures.
    pub fn verify(self, keys: &KeyRing) -> Result<Verified, Denial> {
        signature::verify(&self.container, keys)?;
        Ok(Verified {
            profile: self.profile,
            root_key_id: self.container.root_key_id,
        })
    }

    /// The root key that it says signed it.
    #[must_use]
    pub const fn root_key_id(&self) -> RootKeyId {
        self.container.root_key_id
    }

    /// What the token claims.
    #[must_use]
    pub const fn claims(&self) -> &Profile {
        &self.profile
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Untrusted").field(&self.profile).finish()
    }
}

impl Verified {
    /// What the token says.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The root key that signed it.
    #[must_use]
    pub const fn root_key_id(&self) -> RootKeyId {
        self.root_key_id
    }
}
