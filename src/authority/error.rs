//! Why the authority refuses or fails.

use hardtack_token::dpop::ProofError;
use hardtack_token::{
    ChainError, Denial, DenialKind, GrantId, InvalidId, Scope, ScopeSet, ServiceName, Timestamp,
};

use crate::authority::secrets::SecretError;
use crate::domain::ids::RequestId;
use crate::domain::operation::Operation;
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
    /// No key was proven where one is needed.
    #[error(
        "a device's key must be proven: send a `DPoP` header, or a `client_assertion` (`private_key_jwt`); a device that is not known yet puts its public key into the assertion's `jwk` header"
    )]
    KeyRequired,
    /// Nobody said who calls an endpoint that is not for everybody.
    #[error(
        "say who asks: an access token for this issuer in `Authorization`, a service's name and token as `client_id` and `client_secret`, or a `client_assertion`"
    )]
    NoClient,
    /// The client is another one than it says, or than what it presents belongs to.
    #[error("`client_id` is not the client that this credential belongs to")]
    WrongClient,
    /// A copy of a service token that its holder narrowed, where the token itself is needed.
    #[error(
        "this is a narrowed copy of a service token, and the whole service token would end: send the service's name and token as `client_id` and `client_secret`"
    )]
    ServiceTokenRequired,
    /// There is a live service token of this name.
    #[error(
        "there is a live service token of the name `{0}`: names are client ids, and stand for one token each"
    )]
    ServiceExists(ServiceName),
    /// The answer to a poll for a device code that gives no token (RFC 8628 section 3.5).
    #[error("{0}")]
    DeviceCode(#[from] DeviceCodeError),
    /// An invite gives nothing.
    #[error("{0}")]
    Invite(#[from] InviteError),
    /// More was asked for than an invite promises.
    #[error(
        "this invite does not promise `{0}`: ask for less, or for nothing to get all it promises"
    )]
    WiderThanInvite(ScopeSet),
    /// A refusal for which one endpoint of OAuth's has a word of its own.
    #[error("{1}")]
    Said(Word, Box<Error>),
    /// The grant is not in the store: it is of another install, or of a time that a restored backup does not know.
    #[error("this grant is not known here: the device must pair again")]
    UnknownGrant,
    /// Something else where a grant is expected.
    #[error("this token is not a grant")]
    NotAGrant,
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
        "this makes authority: it takes a grant with proof of its key{}; an access token is not enough",
        if operation.takes_root() { ", or the root token" } else { "" }
    )]
    GrantRequired {
        /// What was asked.
        operation: Operation,
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
    /// Too many requests are under way.
    #[error("this node has more requests under way than it takes at once")]
    Overloaded,
    /// A request took too long.
    #[error("the request took too long; nothing that it asked for may be taken for done")]
    TimedOut,
    /// A fault of this program.
    #[error("a fault of this program ended the request")]
    Panicked,
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

/// OAuth's words for a credential that is refused: which one depends on where
/// it was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The refresh token or the device code (RFC 6749 section 5.2).
    InvalidGrant,
    /// Who asks (RFC 6749 section 5.2).
    InvalidClient,
    /// The access token by which a caller asks (RFC 6750 section 3.1).
    InvalidToken,
}

/// Why an invite gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// There is none with this code.
    #[error("there is no invite with this code: look whether it was copied whole")]
    Unknown,
    /// Somebody brought it before.
    #[error("this invite was used already: if it was not by you, whoever invited you should know")]
    Spent,
    /// Nobody brought it in time.
    #[error("this invite has expired")]
    Expired,
    /// It was taken back, or whoever made it can no longer give what it promises.
    #[error(
        "this invite is worth nothing any more: it was taken back, or whoever made it lost the authority to give this"
    )]
    Ended,
}

impl InviteError {
    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "invalid_invite",
            Self::Spent => "invite_spent",
            Self::Expired => "invite_expired",
            Self::Ended => "invite_ended",
        }
    }
}

/// Why a device code gives no token yet, or never.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceCodeError {
    /// There is none like it.
    #[error("this device code is not known here")]
    Unknown,
    /// Nobody answered yet.
    #[error("nobody has answered this request yet")]
    Pending,
    /// Asked again too soon.
    #[error("asked too soon: wait 5 seconds more between polls")]
    TooSoon,
    /// Rejected.
    #[error("the request was rejected{}", .0.as_ref().map(|r| format!(": {r}")).unwrap_or_default())]
    Rejected(Option<String>),
    /// Nobody answered in time, or the device asked for something else since.
    #[error("this request ended unanswered: ask again")]
    Expired,
}

impl DeviceCodeError {
    /// The word of RFC 8628 section 3.5 for it, as far as there is one.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_device_code",
            Self::Pending => "authorization_pending",
            Self::TooSoon => "slow_down",
            Self::Rejected(_) => "access_denied",
            Self::Expired => "expired_token",
        }
    }
}

impl Error {
    /// The refusal of a credential in OAuth's word for it. What is no refusal,
    /// or has a word that fits everywhere, stays what it is.
    #[must_use]
    pub fn said(self, word: Word) -> Self {
        match self {
            Self::Denied(ref denial) if !says_who(denial) => self,
            Self::Denied(_)
            | Self::WrongKey
            | Self::UnknownGrant
            | Self::NotAGrant
            | Self::RootTokenNotAccepted => Self::Said(word, Box::new(self)),
            other => other,
        }
    }
}

/// Whether a refusal is of the credential itself, and not of what it is used for.
fn says_who(denial: &Denial) -> bool {
    match denial.kind() {
        DenialKind::Unauthenticated => true,
        DenialKind::Forbidden => matches!(denial, Denial::WrongAudience { .. }),
        DenialKind::Unavailable => false,
    }
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
