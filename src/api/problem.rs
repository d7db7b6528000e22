//! Every refusal and failure of the authority as an answer, in one place
//! (RFC 9457), with the challenge of RFC 6750 and RFC 9449 and the way out.

use axum::response::{IntoResponse, Response};
use hardtack_token::dpop::ProofError;
use hardtack_token::{Denial, ScopeSet};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::api::Refusal;
use crate::authority::Authority;
use crate::authority::error::{DeviceCodeError, Error, InviteError, Shortfall, Word};
use crate::domain::operation::Operation;
use crate::store::StoreError;
use crate::web::code::Code;
use crate::web::problem::{DPOP_ALGS, Document, METADATA_PATH, PROBLEM_JSON, quotable};

/// A refusal or failure as it is told to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) document: Document,
    pub(crate) headers: HeaderMap,
}

impl Problem {
    /// Puts together what a caller is told.
    pub(crate) fn new(authority: &Authority, error: &Error, request_id: Uuid) -> Self {
        // What was refused is told; the word for it is OAuth's alone.
        let (word, error) = match error {
            Error::Said(word, inner) => (Some(*word), inner.as_ref()),
            error => (None, error),
        };
        let code = classify(error);
        let mut status = code.status();
        if word == Some(Word::InvalidToken) {
            // RFC 6750 section 3.1, also for a token that is for somebody else.
            status = StatusCode::UNAUTHORIZED;
        }
        // What failed inside is not the caller's business.
        let detail = match error {
            _ if status == StatusCode::INTERNAL_SERVER_ERROR => {
                "the request failed inside; the server's log has it under this request id".into()
            }
            Error::Store(StoreError::Unavailable(_)) => {
                "the database does not answer; ask again in a while".into()
            }
            Error::Store(StoreError::ReadOnly(_)) => {
                "the database cannot be written: it is full, or may not be changed".into()
            }
            error => error.to_string(),
        };
        let id = request_id.to_string();
        let mut problem = Self {
            status,
            document: Document::new(code, code.title(), detail, id),
            headers: HeaderMap::new(),
        };
        problem.document.next = next(authority, error);
        problem.add_particulars(error);
        problem.add_headers(authority, error);
        problem
    }

    fn add_particulars(&mut self, error: &Error) {
        let local = || "the local device".to_owned();
        let hosts = || vec!["the root token".to_owned(), local()];
        let document = &mut self.document;
        if let Error::InsufficientScope(shortfall) = error {
            document.required = shortfall.required.to_strings();
            document.held = Some(shortfall.held.to_strings());
            document.missing = shortfall.missing.to_strings();
            document.who = hosts();
            document.who.extend(shortfall.others.iter().cloned());
        }
        if let Error::GrantRequired { operation, .. } = error {
            document.who = if operation.takes_root() {
                hosts()
            } else {
                vec![local()]
            };
            document
                .who
                .push("a device's grant with proof of its key".to_owned());
        }
        if let Error::LocalDevice = error {
            document.who = hosts();
        }
        if let Error::NotPending {
            status,
            superseded_by,
            grant,
        } = error
        {
            // `status` is taken: RFC 9457 gives it to the HTTP status.
            document.more.insert("request_status".into(), json!(status));
            let by = superseded_by.map(|id| id.to_string());
            document.more.insert("superseded_by".into(), json!(by));
            let grant = grant.map(|id| id.to_string());
            document.more.insert("grant_id".into(), json!(grant));
        }
    }

    fn add_headers(&mut self, authority: &Authority, error: &Error) {
        if self.status == StatusCode::UNAUTHORIZED {
            for challenge in challenges(authority, error, &self.document.detail) {
                if let Ok(value) = HeaderValue::from_str(&challenge) {
                    self.headers.append(WWW_AUTHENTICATE, value);
                }
            }
        }
        if let Error::NonceRequired = error
            && let Ok(nonce) = authority.nonce()
            && let Ok(value) = HeaderValue::from_str(&nonce)
        {
            self.headers
                .insert(HeaderName::from_static("dpop-nonce"), value);
        }
        let retry = match error {
            Error::TooMany { retry_after, .. } => Some(*retry_after),
            _ if self.status == StatusCode::SERVICE_UNAVAILABLE => Some(1),
            _ => None,
        };
        if let Some(seconds) = retry {
            self.headers.insert(RETRY_AFTER, seconds.into());
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.document.to_bytes();
        let mut response = (self.status, self.headers, body).into_response();
        let kind = HeaderValue::from_static(PROBLEM_JSON);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

pub(super) async fn no_such_path() -> Refusal {
    Error::NoSuchPath.into()
}

pub(super) async fn no_such_method() -> Refusal {
    Error::NoSuchMethod.into()
}

/// The code of every error. No wildcard: a new one must be placed.
fn classify(error: &Error) -> Code {
    match error {
        Error::Denied(denial) => denial.into(),
        Error::Proof(ProofError::Missing) | Error::KeyRequired => Code::ProofRequired,
        Error::Proof(_) => Code::InvalidProof,
        Error::Assertion(_) => Code::InvalidClient,
        Error::NonceRequired => Code::UseDpopNonce,
        Error::WrongKey => Code::WrongKey,
        Error::NoClient => Code::MissingClient,
        Error::WrongClient => Code::WrongClient,
        Error::ServiceTokenRequired => Code::ServiceTokenRequired,
        Error::ServiceExists(_) => Code::ServiceExists,
        Error::DeviceCode(DeviceCodeError::Unknown) => Code::DeviceCodeUnknown,
        Error::DeviceCode(DeviceCodeError::Pending) => Code::AuthorizationPending,
        Error::DeviceCode(DeviceCodeError::TooSoon) => Code::SlowDown,
        Error::DeviceCode(DeviceCodeError::Rejected(_)) => Code::AccessDenied,
        Error::DeviceCode(DeviceCodeError::Expired) => Code::ExpiredToken,
        Error::Invite(InviteError::Unknown) => Code::InvalidInvite,
        Error::Invite(InviteError::Spent) => Code::InviteSpent,
        Error::Invite(InviteError::Expired) => Code::InviteExpired,
        Error::Invite(InviteError::Ended) => Code::InviteEnded,
        Error::WiderThanInvite(_) => Code::WiderThanInvite,
        // Taken apart before.
        Error::Said(_, inner) => classify(inner),
        Error::UnknownGrant => Code::UnknownGrant,
        Error::WrongRootToken => Code::WrongRootToken,
        Error::RootTokenNotAccepted => Code::RootTokenNotAccepted,
        Error::GrantRequired { .. } => Code::GrantRequired,
        Error::InsufficientScope(_) => Code::InsufficientScope,
        Error::LocalDevice => Code::LocalDevice,
        Error::NotFound(_) | Error::NoSuchPath => Code::NotFound,
        Error::NoSuchMethod => Code::MethodNotAllowed,
        Error::NotPending { .. } => Code::NotPending,
        Error::RequestExpired(_) => Code::RequestExpired,
        Error::WiderThanRequested(_) => Code::WiderThanRequested,
        Error::ChainTooLong => Code::ChainTooLong,
        Error::UnknownScope(_) => Code::UnknownScope,
        Error::InvalidScope(_) => Code::InvalidScope,
        Error::InvalidTarget(_) => Code::InvalidTarget,
        Error::InvalidRequest(_) | Error::NotAGrant => Code::InvalidRequest,
        Error::DuplicateAuthorization => Code::DuplicateAuthorization,
        Error::UnsupportedGrantType(_) => Code::UnsupportedGrantType,
        Error::TooLarge => Code::TooLarge,
        Error::TooMany { .. } => Code::TooManyRequests,
        Error::Overloaded => Code::Overloaded,
        Error::TimedOut => Code::TimedOut,
        Error::WrongSecret => Code::NotReady,
        Error::Store(StoreError::Conflict) => Code::Conflict,
        Error::Store(StoreError::NoCopy) => Code::NoBackup,
        Error::Store(StoreError::ReadOnly(_) | StoreError::Unavailable(_)) => {
            Code::StoreUnavailable
        }
        Error::Store(
            StoreError::Database(_)
            | StoreError::Corrupt { .. }
            | StoreError::Migrate(_)
            | StoreError::Newer(_)
            | StoreError::NotWhole { .. }
            | StoreError::Url(_)
            | StoreError::File { .. },
        )
        | Error::Panicked
        | Error::OtherInstall
        | Error::AlreadyInitialised
        | Error::NotInitialised
        | Error::Secret(_)
        | Error::Chain(_)
        | Error::Invalid(_) => Code::Internal,
    }
}

/// The commands that get on from here.
fn next(authority: &Authority, error: &Error) -> Vec<String> {
    let host = |command: String| authority.host_command(&command);
    match error {
        Error::InsufficientScope(shortfall) => next_after_shortfall(authority, shortfall),
        Error::GrantRequired { operation, request } => {
            let id = request.map_or_else(|| "<id>".to_owned(), |id| id.to_string());
            vec![host(if *operation == Operation::DevicesInvite {
                "devices invite --scopes <scopes>".to_owned()
            } else if *operation == Operation::TokensIssue {
                "token issue <name> --scopes <scopes>".to_owned()
            } else {
                format!("devices approve {id}")
            })]
        }
        Error::Invite(InviteError::Unknown) => {
            vec!["hardtack pair --invite <the code again>".to_owned()]
        }
        Error::Invite(InviteError::Spent | InviteError::Expired | InviteError::Ended) => vec![
            "hardtack devices invite --scopes <scopes>    # by whoever invited".to_owned(),
            "hardtack pair    # and wait for an approval".to_owned(),
        ],
        Error::NotPending {
            superseded_by: Some(id),
            ..
        } => vec![format!("hardtack devices approve {id}")],
        Error::ServiceExists(name) => vec![format!("hardtack token revoke {name}")],
        Error::LocalDevice | Error::WrongRootToken => vec![host("root reset".into())],
        Error::RootTokenNotAccepted => {
            vec!["hardtack token exchange --token - --scopes <scopes>".to_owned()]
        }
        Error::RequestExpired(_)
        | Error::UnknownGrant
        | Error::DeviceCode(
            DeviceCodeError::Unknown | DeviceCodeError::Expired | DeviceCodeError::Rejected(_),
        ) => vec!["hardtack pair".to_owned()],
        Error::Said(_, inner) => next(authority, inner),
        Error::InvalidScope(_) => vec!["hardtack whoami".to_owned()],
        Error::Store(StoreError::NoCopy) => {
            vec!["pg_dump --format=custom --file=FILE DATABASE".to_owned()]
        }
        Error::Denied(denial) => next_after_denial(authority, denial),
        Error::Proof(_)
        | Error::Assertion(_)
        | Error::NonceRequired
        | Error::WrongKey
        | Error::KeyRequired
        | Error::NoClient
        | Error::WrongClient
        | Error::ServiceTokenRequired
        | Error::NotAGrant
        | Error::DeviceCode(DeviceCodeError::Pending | DeviceCodeError::TooSoon)
        | Error::NotFound(_)
        | Error::NoSuchPath
        | Error::NoSuchMethod
        | Error::NotPending { .. }
        | Error::WiderThanRequested(_)
        | Error::WiderThanInvite(_)
        | Error::ChainTooLong
        | Error::UnknownScope(_)
        | Error::InvalidTarget(_)
        | Error::InvalidRequest(_)
        | Error::DuplicateAuthorization
        | Error::UnsupportedGrantType(_)
        | Error::TooLarge
        | Error::TooMany { .. }
        | Error::Overloaded
        | Error::TimedOut
        | Error::Panicked
        | Error::Store(_)
        | Error::WrongSecret
        | Error::OtherInstall
        | Error::AlreadyInitialised
        | Error::NotInitialised
        | Error::Secret(_)
        | Error::Chain(_)
        | Error::Invalid(_) => Vec::new(),
    }
}

fn next_after_shortfall(authority: &Authority, shortfall: &Shortfall) -> Vec<String> {
    let Some(id) = shortfall.request else {
        // A new grant takes the place of the old one, so it has to have both.
        let held = shortfall.held.iter().chain(shortfall.missing.iter());
        let scopes: ScopeSet = held.cloned().collect();
        let scopes = scopes.to_strings().join(",");
        return vec![format!("hardtack pair --scopes {scopes}")];
    };
    let mut commands = vec![authority.host_command(&format!("devices approve {id}"))];
    let part = &shortfall.could_give;
    if !part.is_empty() && *part != shortfall.required {
        let scopes = part.to_strings().join(",");
        commands.push(format!("hardtack devices approve {id} --scopes {scopes}"));
    }
    commands
}

fn next_after_denial(authority: &Authority, denial: &Denial) -> Vec<String> {
    let issuer = &authority.settings().issuer;
    match denial {
        Denial::MissingToken => vec![
            "hardtack pair --scopes operator.read".to_owned(),
            format!("hardtack token exchange --audience {issuer}"),
        ],
        Denial::WrongAudience { .. } | Denial::Expired(_) => {
            vec![format!("hardtack token exchange --audience {issuer}")]
        }
        Denial::Revoked | Denial::Retired => vec!["hardtack pair".to_owned()],
        Denial::Malformed(_)
        | Denial::OutsideProfile(_)
        | Denial::UnknownKey(_)
        | Denial::RootTokenNotAccepted
        | Denial::BadSignature { .. }
        | Denial::GrantNotAccepted
        | Denial::NotActivated
        | Denial::RevocationsStale { .. }
        | Denial::WrongHolder
        | Denial::CaveatMethod
        | Denial::CaveatPath
        | Denial::CaveatOperation
        | Denial::InsufficientScope { .. } => Vec::new(),
    }
}

/// The challenges of a 401: for both kinds of token, without an error where
/// nothing was presented (RFC 6750 section 3.1).
fn challenges(authority: &Authority, error: &Error, detail: &str) -> [String; 2] {
    let metadata = format!(
        "resource_metadata=\"{}{METADATA_PATH}\"",
        authority.settings().issuer
    );
    let error = match error {
        Error::Denied(Denial::MissingToken) => String::new(),
        Error::NonceRequired => ", error=\"use_dpop_nonce\"".to_owned(),
        Error::Proof(_) => ", error=\"invalid_dpop_proof\"".to_owned(),
        _ => {
            let quoted = quotable(detail);
            format!(", error=\"invalid_token\", error_description=\"{quoted}\"")
        }
    };
    [
        format!("Bearer realm=\"hardtack\", {metadata}{error}"),
        format!("DPoP algs=\"{}\", {metadata}{error}", DPOP_ALGS.join(" ")),
    ]
}
