//! Why a request goes no further, whatever door it came through.

use std::borrow::Cow;

use hardtack_token::dpop::ProofError;
use hardtack_token::{
    Access, Catalog, CredentialError, Denial, DenialKind, GrantId, Origin, Rejection, ScopeSet,
};
use http::StatusCode;

use crate::web::code::Code;

/// A refusal. Its answer is put together in one place, [`super::problem`].
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// What the verifier says of the token.
    #[error(transparent)]
    Token(#[from] Denial),
    /// The proof of possession does not fit.
    #[error(transparent)]
    Proof(ProofError),
    /// The list of revocations was never read.
    #[error("the gateway has just started and has not read the list of revocations yet")]
    NotReady,
    /// A token that anybody may use came as one that is bound to a key.
    #[error("this token is not bound to a key: present it as `Authorization: Bearer`")]
    NotBound,
    /// A `deny` fact matches.
    #[error("the policy denies this request to everybody")]
    DeniedByPolicy,
    /// No fact matches.
    #[error("no `route` of the policy matches this request, so nobody may send it")]
    NoRoute,
    /// The path could be read in several ways.
    #[error("{0}")]
    AmbiguousPath(&'static str),
    /// There could be two credentials.
    #[error("a request carries one `Authorization` header with one credential in it")]
    DuplicateAuthorization,
    /// Another thing about the request that is not well formed.
    #[error("{0}")]
    InvalidRequest(Cow<'static, str>),
    /// A path of the gateway's own that it does not have.
    #[error("paths under `/.hardtack/` belong to the gateway, and it has no such one")]
    NotFound,
    /// A path of the gateway's own, by another method.
    #[error("this path is for GET only")]
    MethodNotAllowed,
    /// Somebody asks at a forward-auth door who is no proxy of ours.
    #[error("only this gateway's proxies may ask here")]
    ProxyNotTrusted,
    /// The client stopped sending the body of its request.
    #[error("the body of the request did not arrive in time")]
    RequestTimeout,
    /// The upstream could not be reached, or broke off.
    #[error("the upstream could not be reached, or did not answer in HTTP")]
    UpstreamFailed,
    /// There is no upstream.
    #[error("this request is allowed, but the gateway has no upstream to pass it to")]
    NoUpstream,
    /// The upstream did not answer.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Duplicate => Self::DuplicateAuthorization,
            CredentialError::DuplicateProof | CredentialError::UnreadableProof => {
                Self::InvalidRequest(error.to_string().into())
            }
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(why: Rejection) -> Self {
        match why {
            Rejection::Token(denial) => Self::Token(denial),
            Rejection::Proof(error) => Self::Proof(error),
            Rejection::NotBound => Self::NotBound,
            Rejection::NotReady => Self::NotReady,
        }
    }
}

/// A refusal and the caller it is for, as far as one is known.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) why: Refusal,
    pub(crate) caller: Option<Caller>,
}

/// Whose token it was.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) grant: GrantId,
    /// What the token gives, in its own words.
    pub(crate) held: ScopeSet,
    /// How the caller comes by a token that would do.
    pub(crate) remedy: Remedy,
}

/// What would give a caller the scopes that its token lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Another exchange: its grant has them.
    Exchange(ScopeSet),
    /// A new pairing that asks for these.
    Pair(ScopeSet),
    /// Nothing that it can do itself.
    Nothing,
}

impl Refusal {
    /// The stable code, which the status goes with.
    pub(crate) fn kind(&self) -> Code {
        match self {
            Self::Token(denial) => denial.into(),
            Self::Proof(_) | Self::NotBound => Code::InvalidProof,
            Self::NotReady => Code::NotReady,
            Self::DeniedByPolicy => Code::DeniedByPolicy,
            Self::NoRoute => Code::NoRoute,
            Self::AmbiguousPath(_) => Code::AmbiguousPath,
            Self::DuplicateAuthorization => Code::DuplicateAuthorization,
            Self::InvalidRequest(_) => Code::InvalidRequest,
            Self::NotFound => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::ProxyNotTrusted => Code::ProxyNotTrusted,
            Self::RequestTimeout => Code::RequestTimeout,
            Self::UpstreamFailed => Code::UpstreamFailed,
            Self::NoUpstream => Code::NoUpstream,
            Self::UpstreamTimeout => Code::UpstreamTimeout,
        }
    }

    /// The word of the code.
    pub(crate) fn code(&self) -> &'static str {
        self.kind().as_str()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind().status()
    }

    pub(crate) const fn title(&self) -> &'static str {
        match self {
            Self::Token(denial) => match denial.kind() {
                DenialKind::Unauthenticated if matches!(denial, Denial::MissingToken) => {
                    "An access token is needed"
                }
                DenialKind::Unauthenticated => "The credential is not accepted",
                DenialKind::Forbidden => "The token does not allow this",
                DenialKind::Unavailable => "The gateway cannot decide at present",
            },
            Self::Proof(_) | Self::NotBound => "The credential is not accepted",
            Self::NotReady => "The gateway cannot decide at present",
            Self::DeniedByPolicy | Self::NoRoute => "The policy does not allow this",
            Self::AmbiguousPath(_) => "The path can be read in several ways",
            Self::DuplicateAuthorization => "There is more than one credential",
            Self::InvalidRequest(_) => "The request is not well formed",
            Self::NotFound => "There is no such path",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::ProxyNotTrusted => "The proxy is not known",
            Self::RequestTimeout => "The request took too long",
            Self::UpstreamFailed => "The upstream failed",
            Self::NoUpstream => "There is no upstream",
            Self::UpstreamTimeout => "The upstream took too long",
        }
    }

    /// Whether it came after the decision, which was to allow.
    pub(crate) const fn was_allowed(&self) -> bool {
        match self {
            Self::RequestTimeout
            | Self::UpstreamFailed
            | Self::NoUpstream
            | Self::UpstreamTimeout => true,
            Self::Token(_)
            | Self::Proof(_)
            | Self::NotBound
            | Self::NotReady
            | Self::DeniedByPolicy
            | Self::NoRoute
            | Self::AmbiguousPath(_)
            | Self::DuplicateAuthorization
            | Self::InvalidRequest(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::ProxyNotTrusted => false,
        }
    }

    /// What is wrong, in words for the person who sent the request.
    pub(crate) fn detail(&self, gateway: &Origin) -> String {
        if let Self::Proof(ProofError::Uri { made_for, origin }) = self {
            let loopback = origin.parse().is_ok_and(|o: Origin| o.is_loopback());
            return if loopback || origin == gateway.as_str() {
                format!("the proof is for `{made_for}`, whose path is not the requested one")
            } else {
                // `--public-url` is what does the same for the API.
                format!(
                    "the proof is for `{made_for}`, which is not this gateway; if clients reach it \
                     there, start the server with `--gateway-url {origin}` (for the API it is \
                     `--public-url {origin}`)"
                )
            };
        }
        self.to_string()
    }

    /// The scopes that the request needs, where the caller may know.
    pub(crate) const fn required(&self) -> Option<&ScopeSet> {
        if let Self::Token(Denial::InsufficientScope { required, .. }) = self {
            Some(required)
        } else {
            None
        }
    }
}

impl Refused {
    /// A refusal to somebody unknown.
    pub(crate) const fn unknown(why: Refusal) -> Self {
        Self { why, caller: None }
    }

    /// A refusal to the holder of a token whose signatures fit.
    pub(crate) fn holder(why: impl Into<Refusal>, access: &Access, catalog: &Catalog) -> Self {
        let why = why.into();
        let remedy = why.required().map_or(Remedy::Nothing, |required| {
            Remedy::of(access, catalog, required)
        });
        Self {
            why,
            caller: Some(Caller {
                grant: access.grant_id(),
                held: access.scopes(),
                remedy,
            }),
        }
    }
}

impl Remedy {
    fn of(access: &Access, catalog: &Catalog, required: &ScopeSet) -> Self {
        match access.service() {
            // The root token mints what an exchange asks for.
            Some(name) if name.is_root() => return Self::Exchange(required.clone()),
            Some(_) => return Self::Nothing,
            None => {}
        }
        let chain = access.chain();
        let wanted = catalog.closure(required);
        let granted = chain.grants().map(|grant| &grant.scopes);
        let mut blocks = std::iter::once(&chain.scopes).chain(granted);
        if blocks.all(|set| catalog.closure(set).covers(&wanted)) {
            return Self::Exchange(required.clone());
        }
        // A new grant replaces the old one, so it has to have both.
        let own = &chain.leaf().scopes;
        Self::Pair(own.iter().chain(required.iter()).cloned().collect())
    }
}
