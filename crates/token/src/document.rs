//! What an install publishes for verifiers: its keys and scopes
//! (`/.well-known/hardtack`), and the feed of what ended.

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Declared};
use crate::catalog_builder::{CatalogError, Implied};
use crate::id::{InvalidId, RootKeyId};
use crate::keys::{KeyRing, KeyState, PublicKey};
use crate::revocation::Ended;
use crate::scope::Scope;
use crate::time::Timestamp;

/// The version of the token profile that this library reads.
pub const PROFILE: u32 = 1;

/// The document of `/.well-known/hardtack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The install.
    pub instance_id: String,
    /// The version of the token profile.
    pub profile: u32,
    /// The keys that sign block 0.
    pub root_keys: Vec<PublishedKey>,
    /// The keys that attest grants and sessions.
    pub attestation_keys: Vec<PublishedKey>,
    /// The declared scopes.
    #[serde(default)]
    pub scopes: Vec<PublishedScope>,
    /// The URL of the feed of what ended.
    #[serde(default)]
    pub revocations: String,
}

/// A public key and where it stands in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedKey {
    /// Its number; in a token for a root key.
    pub id: u32,
    /// `ed25519/<hex>`
    pub key: String,
    /// `active`, `retiring` or `retired`.
    pub state: String,
}

/// A declared scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedScope {
    /// Its name.
    pub name: String,
    /// What it allows, in words.
    #[serde(default)]
    pub description: String,
    /// What its holder has besides: scopes, or `<prefix>.*`.
    #[serde(default)]
    pub implies: Vec<String>,
}

/// A page of the feed of what ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPage {
    /// The install.
    pub instance_id: String,
    /// When it was read, by the clock of who gives it (RFC 3339).
    pub as_of: String,
    /// How often the keys of the install changed.
    #[serde(default)]
    pub keys_version: i64,
    /// What to ask after next time.
    pub position: String,
    /// What ended, in order.
    pub items: Vec<Ended>,
    /// What to ask after for the page that follows; `None` on the last.
    pub next: Option<String>,
}

/// Why a document does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is of another version of the token profile.
    #[error("it is for version {0} of the token profile; this program reads version {PROFILE}")]
    Profile(u32),
    /// A name or a key is not well formed.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The scopes do not make a catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Published {
    /// The keys, as a verifier takes them.
    pub fn keys(&self) -> Result<KeyRing, DocumentError> {
        if self.profile != PROFILE {
            return Err(DocumentError::Profile(self.profile));
        }
        let mut ring = KeyRing::new();
        for entry in &self.root_keys {
            let (key, state) = entry.parse()?;
            ring = ring.with_root(RootKeyId::new(entry.id), key, state);
        }
        for entry in &self.attestation_keys {
            let (key, state) = entry.parse()?;
            ring = ring.with_attestation(key, state);
        }
        Ok(ring)
    }

    /// The scopes, as decisions take them.
    pub fn catalog(&self) -> Result<Catalog, DocumentError> {
        let mut builder = Catalog::builder();
        for scope in &self.scopes {
            let name: Scope = scope.name.parse()?;
            builder.scope(name.clone(), &scope.description)?;
            for implied in &scope.implies {
                builder.implies(name.clone(), implied.parse()?);
            }
        }
        Ok(builder.build()?)
    }
}

impl PublishedKey {
    /// A key as it is published.
    #[must_use]
    pub fn new(id: u32, key: PublicKey, state: KeyState) -> Self {
        Self {
            id,
            key: key.to_string(),
            state: state.as_str().to_owned(),
        }
    }

    fn parse(&self) -> Result<(PublicKey, KeyState), InvalidId> {
        Ok((self.key.parse()?, self.state.parse()?))
    }
}

impl From<&Declared> for PublishedScope {
    fn from(declared: &Declared) -> Self {
        Self {
            name: declared.scope.to_string(),
            description: declared.description.clone(),
            implies: declared.implies.iter().map(Implied::to_string).collect(),
        }
    }
}

impl FeedPage {
    /// When it was read.
    pub fn as_of(&self) -> Result<Timestamp, InvalidId> {
        self.as_of.parse()
    }
}
