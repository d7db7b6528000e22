//! Refusals of `/oauth` in the form of RFC 6749 section 5.2.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::api::problem::Problem;
use crate::authority::error::{DeviceCodeError, Error, Word};
use crate::web::problem::quotable;

/// A refusal as an OAuth client expects it; `code` says more than `error` can.
#[derive(Debug)]
pub(crate) struct OAuthError {
    status: StatusCode,
    error: &'static str,
    problem: Problem,
}

impl OAuthError {
    pub(crate) fn new(error: &Error, problem: Problem) -> Self {
        let (status, error) = classify(error, problem.status);
        Self {
            status,
            error,
            problem,
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "error": self.error,
            // RFC 6749 section 5.2 allows printable ASCII without quotes.
            "error_description": quotable(&self.problem.document.detail),
            "code": self.problem.document.code,
        });
        if let (Some(members), false) =
            (body.as_object_mut(), self.problem.document.next.is_empty())
        {
            members.insert("next".into(), json!(self.problem.document.next));
        }
        let mut headers: HeaderMap = self.problem.headers;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.error == "invalid_client" {
            let basic = HeaderValue::from_static("Basic realm=\"hardtack\"");
            headers.insert(WWW_AUTHENTICATE, basic);
        } else if self.status != StatusCode::UNAUTHORIZED {
            headers.remove(WWW_AUTHENTICATE);
        }
        (self.status, headers, body.to_string()).into_response()
    }
}

/// The RFC's word for an error: any bad subject token is `invalid_request`
/// (RFC 8693 section 2.2.2), a bad proof `invalid_dpop_proof` (RFC 9449 section 5).
fn classify(error: &Error, status: StatusCode) -> (StatusCode, &'static str) {
    let bad = StatusCode::BAD_REQUEST;
    let unauthorized = StatusCode::UNAUTHORIZED;
    match error {
        Error::Said(Word::InvalidGrant, _) | Error::DeviceCode(DeviceCodeError::Unknown) => {
            (bad, "invalid_grant")
        }
        Error::Said(Word::InvalidClient, _)
        | Error::Assertion(_)
        | Error::KeyRequired
        | Error::NoClient
        | Error::ServiceTokenRequired
        | Error::WrongClient => (unauthorized, "invalid_client"),
        Error::Said(Word::InvalidToken, _) => (unauthorized, "invalid_token"),
        Error::DeviceCode(why) => (bad, why.code()),
        Error::Proof(hardtack_token::dpop::ProofError::Missing) => (bad, "invalid_request"),
        Error::Proof(_) => (bad, "invalid_dpop_proof"),
        Error::NonceRequired => (bad, "use_dpop_nonce"),
        Error::InvalidScope(_) | Error::UnknownScope(_) => (bad, "invalid_scope"),
        Error::InsufficientScope(_) => (status, "insufficient_scope"),
        Error::InvalidTarget(_) => (bad, "invalid_target"),
        Error::UnsupportedGrantType(_) => (bad, "unsupported_grant_type"),
        Error::Denied(_) | Error::Store(_) if status == StatusCode::SERVICE_UNAVAILABLE => {
            (status, "temporarily_unavailable")
        }
        Error::Denied(_) if status == StatusCode::FORBIDDEN => (status, "insufficient_scope"),
        Error::Denied(_)
        | Error::WrongKey
        | Error::NotAGrant
        | Error::UnknownGrant
        | Error::WrongRootToken
        | Error::RootTokenNotAccepted
        | Error::GrantRequired { .. }
        | Error::ChainTooLong
        | Error::InvalidRequest(_)
        | Error::DuplicateAuthorization => (bad, "invalid_request"),
        Error::LocalDevice
        | Error::NotFound(_)
        | Error::NoSuchPath
        | Error::NoSuchMethod
        | Error::NotPending { .. }
        | Error::ServiceExists(_)
        | Error::RequestExpired(_)
        | Error::WiderThanRequested(_)
        | Error::WiderThanInvite(_)
        | Error::Invite(_)
        | Error::TooLarge => (status, "invalid_request"),
        Error::TooMany { .. } => (status, "slow_down"),
        Error::Overloaded | Error::TimedOut => (status, "temporarily_unavailable"),
        Error::Store(_)
        | Error::Panicked
        | Error::WrongSecret
        | Error::OtherInstall
        | Error::AlreadyInitialised
        | Error::NotInitialised
        | Error::Secret(_)
        | Error::Chain(_)
        | Error::Invalid(_) => (status, "server_error"),
    }
}
