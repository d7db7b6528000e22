//! Biscuit tokens of the hardtack profile: mint, attest, narrow, verify.
//!
//! A token is the sequence `A G+ (S H*)?`: an **authority** block signed by the
//! root key, **grants** and at most one **session** attested by the authority,
//! and **holder's** blocks that anybody may add offline with any Biscuit
//! library. All of them only narrow. A token outside this closed grammar is
//! refused before any Datalog is run; what it allows is decided natively, and
//! the Datalog of the profile remains the specification that tests hold it to.
//!
//! The types follow the way of a token:
//!
//! ```text
//! TokenText ──▶ Untrusted ──▶ Verified ──▶ Access ──▶ Authenticated ──▶ Permit
//!   length      container,    signatures   session    time, holder,     scopes and
//!               keys known,                names the  audience          other caveats
//!               profile                    last grant,
//!                                          revocation
//! ```
//!
//! A permit is for one request. What lasts longer, such as a WebSocket, keeps
//! it and asks [`Verifier::still_live`] when [`Verifier::changes`] has grown or
//! the time has come.
//!
//! This crate knows no database, no HTTP server and no command line. Time and
//! randomness are parameters.

mod access;
#[cfg(feature = "tower")]
mod answer;
mod bits;
mod cache;
mod catalog;
mod catalog_builder;
mod caveat;
mod chain;
mod container;
mod credential;
mod denial;
mod document;
pub mod dpop;
#[cfg(feature = "axum")]
mod extract;
mod fold;
mod follow;
mod guard;
mod heap;
mod id;
pub mod jws;
mod keys;
#[cfg(feature = "tower")]
mod layer;
mod mint;
mod narrowed;
mod origin;
mod packed;
pub mod path;
mod profile;
mod revocation;
mod scope;
mod signature;
mod symbols;
mod text;
mod time;
mod untrusted;
mod verify;

pub use access::{Access, Authenticated, Permit};
pub use bits::ScopeBits;
pub use catalog::{Catalog, Declared, Requirement};
pub use catalog_builder::{CatalogBuilder, CatalogError, Implied};
pub use caveat::{Caveat, PathPrefix};
pub use chain::{Chain, ChainError, NewSession, attenuate};
pub use credential::{Credential, CredentialError, DPOP};
pub use denial::{Denial, DenialKind, OutsideProfile};
pub use document::{DocumentError, FeedPage, PROFILE, Published, PublishedKey, PublishedScope};
pub use fold::{Request, WEBSOCKET};
pub use follow::{Fetch, FollowError, Follower, Limits};
pub use guard::{Admitted, Asked, Guard, Rejected, Rejection};
pub use id::{AuthorityId, DeviceId, GrantId, InvalidId, Role, RootKeyId, ServiceName, SessionId};
pub use keys::{AttestationKey, KeyRing, KeyState, PublicKey};
#[cfg(feature = "tower")]
pub use layer::{Authorize, AuthorizeLayer, Decided};
pub use mint::{RootKey, RootToken};
pub use origin::Origin;
pub use profile::{ChainProfile, Grant, MAX_GRANTS, MAX_HOLDER_BLOCKS, Profile, Session, Subject};
pub use revocation::{End, Ended, Revocations};
pub use scope::{Scope, ScopeSet};
pub use text::{MAX_TEXT, TokenText};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use untrusted::{Untrusted, Verified};
pub use verify::Verifier;
