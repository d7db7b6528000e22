//! Every refusal and failure of the authority in the words of the protocol, in
//! one place, with what is missing, who could do it, and the next command.

use hardtack_token::{Denial, DenialKind};

use crate::authority::error::{Error, Shortfall};
use crate::domain::operation::Operation;
use crate::openclaw::OpenClaw;
use crate::openclaw::errors::{Close, ErrorShape, Refusal};

/// Who can approve whatever else is missing.
const HOSTS: [&str; 2] = ["the root token", "the local device"];

impl OpenClaw {
    /// What a caller of a method is told.
    pub(super) fn error(&self, error: &Error) -> ErrorShape {
        match error {
            Error::InsufficientScope(shortfall) => self.missing_scope(shortfall),
            Error::GrantRequired { operation, request } => {
                let next = match request {
                    Some(id) => self
                        .authority
                        .host_command(&format!("devices approve {id}")),
                    None if *operation == Operation::DevicesInvite => self
                        .authority
                        .host_command("devices invite --scopes <scopes>"),
                    None => "connect with a device that is paired".to_owned(),
                };
                let message = format!(
                    "grant_required: this takes a device that proved its key, and this connection has a token only: {next}"
                );
                ErrorShape::new("FORBIDDEN", message)
                    .with("code", "GRANT_REQUIRED")
                    .with("who", HOSTS.to_vec())
                    .with("next", vec![next])
            }
            Error::LocalDevice => ErrorShape::new("FORBIDDEN", error.to_string())
                .with("code", "LOCAL_DEVICE")
                .with("who", HOSTS.to_vec())
                .with("next", vec![self.authority.host_command("root reset")]),
            Error::NotPending {
                status,
                superseded_by,
                ..
            } => {
                let by = superseded_by.map(|id| id.to_string());
                ErrorShape::invalid(error.to_string())
                    .with("code", "NOT_PENDING")
                    .with("status", *status)
                    .with("supersededBy", by)
            }
            Error::Denied(denial) => denied(denial),
            Error::TooMany { why, retry_after } => {
                ErrorShape::unavailable(*why, retry_after.saturating_mul(1000))
                    .with("code", "AUTH_RATE_LIMITED")
                    .with("recommendedNextStep", "wait_then_retry")
            }
            Error::UnknownScope(scope) => ErrorShape::invalid(error.to_string())
                .with("code", "UNKNOWN_SCOPE")
                .with("scope", scope.as_str()),
            Error::NotFound("pairing request") => {
                ErrorShape::invalid("unknown requestId").with("code", "NOT_FOUND")
            }
            Error::NotFound("device") => {
                ErrorShape::invalid("unknown deviceId").with("code", "NOT_FOUND")
            }
            Error::Proof(_)
            | Error::Assertion(_)
            | Error::NonceRequired
            | Error::WrongKey
            | Error::KeyRequired
            | Error::NoClient
            | Error::WrongClient
            | Error::ServiceTokenRequired
            | Error::ServiceExists(_)
            | Error::DeviceCode(_)
            | Error::Said(..)
            | Error::UnknownGrant
            | Error::NotAGrant
            | Error::WrongRootToken
            | Error::RootTokenNotAccepted
            | Error::NotFound(_)
            | Error::RequestExpired(_)
            | Error::WiderThanRequested(_)
            | Error::WiderThanInvite(_)
            | Error::Invite(_)
            | Error::ChainTooLong
            | Error::Overloaded
            | Error::TimedOut
            | Error::Panicked
            | Error::InvalidScope(_)
            | Error::InvalidTarget(_)
            | Error::InvalidRequest(_)
            | Error::DuplicateAuthorization
            | Error::TooLarge
            | Error::NoSuchPath
            | Error::NoSuchMethod
            | Error::UnsupportedGrantType(_) => ErrorShape::invalid(error.to_string()),
            Error::WrongSecret
            | Error::OtherInstall
            | Error::AlreadyInitialised
            | Error::NotInitialised
            | Error::Store(_)
            | Error::Secret(_)
            | Error::Chain(_)
            | Error::Invalid(_) => {
                // What failed inside is not the caller's business.
                tracing::error!(%error, "an OpenClaw client's request failed inside");
                ErrorShape::unavailable("hardtack cannot answer now; its log says why", 1000)
                    .with("code", "INTERNAL")
            }
        }
    }

    /// What a client is told whose `connect` is refused by the authority.
    pub(super) fn refusal(&self, error: &Error) -> Refusal {
        let error = self.error(error);
        if error.code == "UNAVAILABLE" {
            let close = Close::new(1013, error.message.clone());
            return Refusal { error, close };
        }
        Refusal::said(error)
    }

    /// What a client without a key is told whose token is refused.
    pub(super) fn token_refusal(&self, error: &Error) -> Refusal {
        let exchange = || {
            let gateway = &self.authority.settings().gateway_url;
            format!("hardtack token exchange --audience {gateway}")
        };
        let (why, next) = match error {
            Error::Denied(denial) => match denial {
                // It is a device's, and the device did not sign.
                Denial::GrantNotAccepted => {
                    let message = "device identity required";
                    let shape = ErrorShape::new("NOT_PAIRED", message);
                    return Refusal::said(shape.with("code", "DEVICE_IDENTITY_REQUIRED"));
                }
                Denial::RevocationsStale { .. } => return self.refusal(error),
                Denial::Expired(_) | Denial::WrongAudience { .. } | Denial::WrongHolder => {
                    (denial.to_string(), Some(exchange()))
                }
                Denial::MissingToken
                | Denial::Malformed(_)
                | Denial::OutsideProfile(_)
                | Denial::UnknownKey(_)
                | Denial::RootTokenNotAccepted
                | Denial::BadSignature { .. }
                | Denial::NotActivated
                | Denial::Revoked
                | Denial::Retired
                | Denial::CaveatMethod
                | Denial::CaveatPath
                | Denial::CaveatOperation
                | Denial::InsufficientScope { .. } => (denial.to_string(), None),
            },
            Error::UnknownGrant => (error.to_string(), None),
            // Whatever else there is, is no matter of the token.
            _other => return self.refusal(error),
        };
        let shape = ErrorShape::invalid("unauthorized: gateway token mismatch")
            .with("code", "AUTH_TOKEN_MISMATCH")
            .with("authReason", "token_mismatch")
            .with("canRetryWithDeviceToken", false)
            .with("recommendedNextStep", "update_auth_credentials")
            .with("why", why);
        Refusal::said(match next {
            Some(next) => shape.with("next", vec![next]),
            None => shape,
        })
    }

    fn missing_scope(&self, shortfall: &Shortfall) -> ErrorShape {
        let missing = shortfall.missing.to_strings();
        let held = shortfall.held.to_strings();
        let mut who: Vec<String> = HOSTS.iter().map(|host| (*host).to_owned()).collect();
        who.extend(shortfall.others.iter().cloned());
        let next = if let Some(id) = shortfall.request {
            let mut next = vec![
                self.authority
                    .host_command(&format!("devices approve {id}")),
            ];
            let part = &shortfall.could_give;
            if !part.is_empty() && *part != shortfall.required {
                let part = part.to_strings().join(",");
                next.push(format!("hardtack devices approve {id} --scopes {part}"));
            }
            next
        } else {
            let both = shortfall.held.iter().chain(shortfall.missing.iter());
            let both: hardtack_token::ScopeSet = both.cloned().collect();
            vec![format!(
                "ask for {} when connecting, then have it approved",
                both
            )]
        };
        let first = missing.first().cloned().unwrap_or_default();
        let message = format!(
            "missing scope: {first} (held: {}; {} could do it: {})",
            listed(&held),
            who.join(" or "),
            next.first().map_or("", String::as_str)
        );
        ErrorShape::new("FORBIDDEN", message)
            .with("code", "MISSING_SCOPE")
            .with("missingScope", first)
            .with("missingScopes", missing)
            .with("requiredScopes", shortfall.required.to_strings())
            .with("heldScopes", held)
            .with("who", who)
            .with("next", next)
    }
}

/// What a caller is told whose token or grant does not allow something.
pub(super) fn denied(denial: &Denial) -> ErrorShape {
    match denial.kind() {
        DenialKind::Unavailable => {
            ErrorShape::unavailable(denial.to_string(), 1000).with("code", "REVOCATIONS_STALE")
        }
        DenialKind::Unauthenticated | DenialKind::Forbidden => {
            ErrorShape::new("FORBIDDEN", denial.to_string())
                .with("code", denial.code().to_ascii_uppercase())
        }
    }
}

/// Names in a message; a word for none.
pub(super) fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
