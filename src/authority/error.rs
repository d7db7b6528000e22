//! Why the authority refuses or fails.

use hardtack_token::dpop::ProofError;
use hardtack_token::{ChainError, Denial, GrantId, InvalidId, Scope, ScopeSet, Timestamp};

use crate::authority::secrets::SecretError;
use crate::domain::ids::RequestId;
use crate::store::StoreError;

/// A refusal or a failure of a use case. The HTTP layer turns it into an answer
/// in one place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The credential is refused, or does not allow this.
    #[error("{0}")]
    Denied(Denial),
    /// The proof of possession is refused.
    #[error("{0}")]
    Proof(#[from] ProofError),
    /// The client assertion (RFC 7523) is refused.
    #[error("the client assertion is refused: {0}")]
    Assertion(ProofError),
    /// The proof must be made with a nonce of ours.
    #[error("the proof must be made with the nonce in the `DPoP-Nonce` header")]
    NonceRequired,
    /// The proof is of another key than the grant's.
    #[error("the proof is of another key than the grant's device")]
    WrongKey,
    /// The grant is not in the store: it is of another install, or of a time that a restored backup does not know.
    #[error("this grant is not known here: the device must pair again")]
    UnknownGrant,
    /// The root token does not open the root key.
    #[error("this root token is not the one in force")]
    WrongRootToken,
    /// The root token is not accepted here.
    #[error(
        "the root token is accepted for approving and for exchange only; exchange it for a session"
    )]
    RootTokenNotAccepted,
    /// Something that makes authority was asked with something else than a grant.
    #[error(
        "this makes authority: it takes a grant with proof of its key, or the root token; an access token is not enough"
    )]
    GrantRequired {
        /// The request that was to be approved, if any.
        request: Option<RequestId>,
    },
    /// The caller holds less than it wants to give, or than the operation needs.
    #[error("{}", .0.why)]
    InsufficientScope(Box<Shortfall>),
    /// Only the local device itself or the root token may end the local device.
    #[error("the local device can be ended by itself or by the root token only")]
    LocalDevice,
    /// Nothing there, or nothing that this caller may know of.
    #[error("no {0} with this id")]
    NotFound(&'static str),
    /// The request was answered before.
    #[error("this request is {status}, not pending")]
    NotPending {
        /// Its state.
        status: &'static str,
        /// The request that stands for it now.
        superseded_by: Option<RequestId>,
        /// The grant it led to.
        grant: Option<GrantId>,
    },
    /// The request ended by itself.
    #[error("this request expired at {0}; the device must ask again")]
    RequestExpired(Timestamp),
    /// More was to be given than was asked for.
    #[error("`{0}` was not asked for: fewer scopes than asked may be given, never more")]
    WiderThanRequested(ScopeSet),
    /// The chain has no room for another grant.
    #[error(
        "the chain would be too long: at most {} grants follow each other",
        hardtack_token::MAX_GRANTS
    )]
    ChainTooLong,
    /// A scope is not declared.
    #[error("scope `{0}` is not declared by the policy")]
    UnknownScope(Scope),
    /// A scope was asked for that the subject does not give.
    #[error("the subject token does not give `{0}`")]
    InvalidScope(ScopeSet),
    /// An audience that cannot be given.
    #[error("{0}")]
    InvalidTarget(String),
    /// The request does not read.
    #[error("{0}")]
    InvalidRequest(String),
    /// Two credentials where one is expected.
    #[error("there is more than one credential in `Authorization`")]
    DuplicateAuthorization,
    /// The request is too large.
    #[error("the request body is too large")]
    TooLarge,
    /// The path is not of this API.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path is of this API and takes other methods.
    #[error("this path takes other methods")]
    NoSuchMethod,
    /// A grant type that is not offered.
    #[error("grant type `{0}` is not offered")]
    UnsupportedGrantType(String),
    /// Too much at once.
    #[error("{why}")]
    TooMany {
        /// Of what.
        why: &'static str,
        /// When to try again, in seconds.
        retry_after: u64,
    },
    /// The secret is not the one that the database was made with.
    #[error(
        "the online secret is not the one that this database was made with: all nodes of an install share one secret.key"
    )]
    WrongSecret,
    /// A backup of something else.
    #[error("this is a backup of another install")]
    OtherInstall,
    /// The install exists already.
    #[error("this data directory is initialised already")]
    AlreadyInitialised,
    /// There is no install yet.
    #[error("there is no install in this database yet")]
    NotInitialised,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Something that was sealed does not open.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// A token cannot be built.
    #[error("{0}")]
    Chain(ChainError),
    /// A stored name does not read.
    #[error("{0}")]
    Invalid(#[from] InvalidId),
}

/// What a caller lacks, and what it could do instead.
#[derive(Clone, Debug, Default)]
pub struct Shortfall {
    /// What it is about.
    pub why: String,
    /// What is needed.
    pub required: ScopeSet,
    /// What the caller holds.
    pub held: ScopeSet,
    /// What the caller lacks.
    pub missing: ScopeSet,
    /// The request that was to be approved, if any.
    pub request: Option<RequestId>,
    /// What of the ask the caller could give.
    pub could_give: ScopeSet,
    /// Who could do it, by name: only for callers that may see devices.
    pub others: Vec<String>,
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::InsufficientScope { required, held } => {
                let lacks = required.iter().filter(|s| !held.contains(s));
                Self::InsufficientScope(Box::new(Shortfall {
                    why: denial_text(&required),
                    missing: lacks.cloned().collect(),
                    required,
                    held,
                    ..Shortfall::default()
                }))
            }
            other => Self::Denied(other),
        }
    }
}

fn denial_text(required: &ScopeSet) -> String {
    if required.is_empty() {
        "this credential gives no scope that is declared".to_owned()
    } else {
        format!("this needs `{required}`")
    }
}

impl From<ChainError> for Error {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::TooLong => Self::ChainTooLong,
            ChainError::Stored(_) | ChainError::Invalid(_) | ChainError::Build(_) => {
                Self::Chain(error)
            }
        }
    }
}
