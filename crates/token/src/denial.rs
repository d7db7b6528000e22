//! Why a token was refused, or what it does not allow.

use std::fmt;

use crate::scope::ScopeSet;
use crate::time::Timestamp;

/// A refusal. It names what is wrong with the token or with its use, and never
/// quotes the token.
///
/// Where several reasons hold, the earliest in the order of reading is given:
/// text and container, block count, algorithm, keys, canonical form, profile,
/// root token, signatures, activation, revocation (its age first), time, holder,
/// audience, then what the request asks: method, path, operation, scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No token was presented.
    #[error("no access token was presented")]
    MissingToken,
    /// The text is not a token: too long, not canonical base64url, not a canonical container.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// A block is not of the closed grammar.
    #[error("{0}")]
    OutsideProfile(OutsideProfile),
    /// The root key id or an attesting key is not known here.
    #[error("{0} is not known here")]
    UnknownKey(String),
    /// The root token, which mints and is never a credential for requests.
    #[error("the root token mints authority; it is not accepted as a credential here")]
    RootTokenNotAccepted,
    /// A signature does not fit: the block was altered, or moved from another token.
    #[error("the signature of block {block} does not fit: the block was altered or moved")]
    BadSignature {
        /// The first block whose signature does not fit; one past the last for the proof.
        block: usize,
    },
    /// A grant, which allows nothing until it is exchanged with proof of its key.
    #[error("a grant is not a credential for requests; exchange it for an access token")]
    GrantNotAccepted,
    /// The session names another grant than the last one.
    #[error("the session in this token belongs to another grant")]
    NotActivated,
    /// The revocation feed was last read too long ago to trust it.
    #[error("the list of revocations is {age} s old, which is too old to decide by")]
    RevocationsStale {
        /// Seconds since the last successful read.
        age: u64,
    },
    /// A block of the lineage is revoked.
    #[error("this token's lineage is revoked")]
    Revoked,
    /// The last grant is retired: rotated, idle or replaced.
    #[error("this token's grant is retired")]
    Retired,
    /// A not-after caveat has passed.
    #[error("this token expired at {0}")]
    Expired(Timestamp),
    /// The token is bound to a key whose possession was not proven.
    #[error("this token is bound to a device key that was not proven with this request")]
    WrongHolder,
    /// The token is for another audience.
    #[error("this token is not for `{stated}`")]
    WrongAudience {
        /// The audience that was stated by the verifier.
        stated: String,
    },
    /// A method caveat does not admit the request.
    #[error("this token was narrowed to other methods")]
    CaveatMethod,
    /// A path caveat does not admit the request.
    #[error("this token was narrowed to other paths")]
    CaveatPath,
    /// An operation caveat does not admit the request.
    #[error("this token was narrowed to other operations")]
    CaveatOperation,
    /// A required scope is not held.
    #[error("needs {}, holds {}", Listed(.required), Listed(.held))]
    InsufficientScope {
        /// What the request needs.
        required: ScopeSet,
        /// What the token gives.
        held: ScopeSet,
    },
}

/// The place and the reason of a departure from the profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("block {block} is outside the token profile: {why}")]
pub struct OutsideProfile {
    /// The block's position; the authority block is 0.
    pub block: usize,
    /// What is not allowed there, and what is.
    pub why: String,
}

/// What kind of answer a refusal calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenialKind {
    /// There is no valid credential: HTTP 401.
    Unauthenticated,
    /// The credential is valid and does not allow this: HTTP 403.
    Forbidden,
    /// The verifier cannot know at present: HTTP 503.
    Unavailable,
}

impl Denial {
    /// The refusal of a text that is too long to be read at all.
    pub(crate) const TOO_LONG: Self = Self::Malformed("it is longer than 6 KiB");

    pub(crate) fn outside(block: usize, why: impl Into<String>) -> Self {
        Self::OutsideProfile(OutsideProfile {
            block,
            why: why.into(),
        })
    }

    /// The stable machine-readable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::Malformed(_) => "malformed_token",
            Self::OutsideProfile(_) => "outside_profile",
            Self::UnknownKey(_) => "unknown_key",
            Self::RootTokenNotAccepted => "root_token_not_accepted",
            Self::BadSignature { .. } => "bad_signature",
            Self::GrantNotAccepted => "grant_not_accepted",
            Self::NotActivated => "not_activated",
            Self::RevocationsStale { .. } => "revocations_stale",
            Self::Revoked => "revoked",
            Self::Retired => "retired",
            Self::Expired(_) => "expired",
            Self::WrongHolder => "wrong_holder",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::CaveatMethod => "caveat_method",
            Self::CaveatPath => "caveat_path",
            Self::CaveatOperation => "caveat_operation",
            Self::InsufficientScope { .. } => "insufficient_scope",
        }
    }

    /// The kind of answer.
    #[must_use]
    pub const fn kind(&self) -> DenialKind {
        match self {
            Self::MissingToken
            | Self::Malformed(_)
            | Self::OutsideProfile(_)
            | Self::UnknownKey(_)
            | Self::RootTokenNotAccepted
            | Self::BadSignature { .. }
            | Self::GrantNotAccepted
            | Self::NotActivated
            | Self::Revoked
            | Self::Retired
            | Self::Expired(_)
            | Self::WrongHolder => DenialKind::Unauthenticated,
            Self::WrongAudience { .. }
            | Self::CaveatMethod
            | Self::CaveatPath
            | Self::CaveatOperation
            | Self::InsufficientScope { .. } => DenialKind::Forbidden,
            Self::RevocationsStale { .. } => DenialKind::Unavailable,
        }
    }
}

struct Listed<'a>(&'a ScopeSet);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("nothing")
        } else {
            write!(f, "`{}`", self.0)
        }
    }
}
