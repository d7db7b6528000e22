//! The answer to a request that is refused: status, challenge (RFC 6750) and
//! problem (RFC 9457), the same members as the gateway's.

use http::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

use crate::credential::CredentialError;
use crate::denial::{Denial, DenialKind};
use crate::guard::Rejection;

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The path could be read in several ways.
    AmbiguousPath(&'static str),
    /// There is not one credential that reads.
    Credential(CredentialError),
    /// The token does not allow it.
    Rejected(Rejection),
}

/// A whole answer but for the type of its body.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    challenges: Vec<String>,
    body: String,
}

impl Refusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::AmbiguousPath(_) => "ambiguous_path",
            Self::Credential(CredentialError::Duplicate) => "duplicate_authorization",
            Self::Credential(
                CredentialError::DuplicateProof | CredentialError::UnreadableProof,
            ) => "invalid_request",
            Self::Rejected(why) => why.code(),
        }
    }

    const fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::AmbiguousPath(_) | Self::Credential(_) => {
                (StatusCode::BAD_REQUEST, "The request is not well formed")
            }
            Self::Rejected(why) => match why.kind() {
                DenialKind::Unauthenticated => {
                    (StatusCode::UNAUTHORIZED, "The credential is not accepted")
                }
                DenialKind::Forbidden => (StatusCode::FORBIDDEN, "The token does not allow this"),
                DenialKind::Unavailable => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "Nothing can be decided at present",
                ),
            },
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::AmbiguousPath(why) => (*why).to_owned(),
            Self::Credential(error) => error.to_string(),
            Self::Rejected(why) => why.to_string(),
        }
    }

    pub(crate) fn answer(&self) -> Answer {
        let (status, title) = self.status();
        let (code, detail) = (self.code(), self.detail());
        let mut problem = json!({
            "type": format!("urn:hardtack:error:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
        });
        if let Self::Rejected(Rejection::Token(Denial::InsufficientScope { required, held })) = self
            && let Some(members) = problem.as_object_mut()
        {
            members.insert("required".to_owned(), json!(required.to_strings()));
            members.insert("held".to_owned(), json!(held.to_strings()));
        }
        Answer {
            status,
            challenges: self.challenges(&detail),
            body: problem.to_string(),
        }
    }

    fn challenges(&self, detail: &str) -> Vec<String> {
        let Self::Rejected(why) = self else {
            return Vec::new();
        };
        // A quoted string of RFC 9110 holds neither of the two as itself.
        let detail = detail.replace(['"', '\\'], "'");
        let bearer = r#"Bearer realm="hardtack""#;
        let dpop = r#"DPoP algs="EdDSA Ed25519""#;
        match why {
            Rejection::Token(Denial::MissingToken) => vec![bearer.to_owned(), dpop.to_owned()],
            Rejection::Token(Denial::InsufficientScope { required, .. }) => vec![format!(
                r#"{bearer}, error="insufficient_scope", error_description="{detail}", scope="{required}""#
            )],
            Rejection::Token(_)
            | Rejection::Proof(_)
            | Rejection::NotBound
            | Rejection::NotReady => match why.kind() {
                DenialKind::Unauthenticated => {
                    let error = format!(r#"error="invalid_token", error_description="{detail}""#);
                    vec![format!("{bearer}, {error}"), dpop.to_owned()]
                }
                DenialKind::Forbidden => {
                    let error = r#"error="insufficient_scope""#;
                    vec![format!(
                        r#"{bearer}, {error}, error_description="{detail}""#
                    )]
                }
                DenialKind::Unavailable => Vec::new(),
            },
        }
    }
}

impl Answer {
    pub(crate) fn into_response<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
        for challenge in self.challenges {
            if let Ok(value) = HeaderValue::try_from(challenge) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
        response
    }
}
