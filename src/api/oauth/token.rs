//! `/oauth/token`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hardtack_token::{Denial, TokenText};
use serde::Serialize;

use super::client::proofs;
use super::{CLIENT_CREDENTIALS, DEVICE_CODE, REFRESH_TOKEN, TOKEN_EXCHANGE, no_store};
use crate::api::Refusal;
use crate::api::extract::{Form, Incoming};
use crate::authority::Authority;
use crate::authority::error::{Error, Word};
use crate::authority::exchange::{Issued, SubjectToken};

/// Types of tokens (RFC 8693 section 3).
const ACCESS_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH_TYPE: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const ROOT_TYPE: &str = "urn:hardtack:token-type:root";

/// A token response (RFC 6749 section 5.1, RFC 8693 section 2.2.1).
#[derive(Debug, Serialize)]
struct Tokens {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    scope: String,
    issued_token_type: &'static str,
    /// The grant, which only its device can use.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

pub(in crate::api) async fn token(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    form: Form,
) -> Result<Response, Refusal> {
    let grant_type = form.required("grant_type")?;
    let (proofs, from) = (proofs(&incoming, &form)?, incoming.from());
    let wanted = form.wanted()?;
    let (issued, grant) = match grant_type {
        TOKEN_EXCHANGE => {
            check_exchange(&form)?;
            let subject = subject(&form)?;
            let issued = authority.exchange(&subject, &wanted, proofs, from);
            (issued.await?, None)
        }
        REFRESH_TOKEN => {
            let grant = presented(form.required("refresh_token")?, Word::InvalidGrant)?;
            let issued = authority.refresh(&grant, &wanted, proofs, from);
            (issued.await?, None)
        }
        CLIENT_CREDENTIALS => {
            let issued = authority.client_credentials(&wanted, proofs, from);
            (issued.await?, None)
        }
        DEVICE_CODE => {
            let code = form.required("device_code")?;
            let redeemed = authority
                .redeem_device_code(code, &wanted, proofs, from)
                .await?;
            (redeemed.issued, Some(redeemed.grant))
        }
        other => {
            let shown = other.chars().take(100).collect();
            return Err(Error::UnsupportedGrantType(shown).into());
        }
    };
    Ok(no_store(Tokens::new(&issued, grant.as_ref())))
}

impl Tokens {
    fn new(issued: &Issued, grant: Option<&TokenText>) -> Self {
        Self {
            access_token: issued.token.expose().to_owned(),
            token_type: if issued.bound { "DPoP" } else { "Bearer" },
            expires_in: issued.expires_in,
            scope: issued.scopes.to_string(),
            issued_token_type: ACCESS_TYPE,
            refresh_token: grant.map(|grant| grant.expose().to_owned()),
            warning: issued.warning,
        }
    }
}

/// The members of an exchange that can only have one value, or none.
fn check_exchange(form: &Form) -> Result<(), Error> {
    if let Some(other) = form.one("requested_token_type")?
        && other != ACCESS_TYPE
    {
        return Err(Error::InvalidRequest(format!(
            "`requested_token_type` can be `{ACCESS_TYPE}` only"
        )));
    }
    // Ignored, it would be taken for delegation that was granted.
    for name in ["actor_token", "actor_token_type"] {
        if form.one(name)?.is_some() {
            return Err(Error::InvalidRequest(format!(
                "`{name}` is not offered: a token speaks for the subject alone"
            )));
        }
    }
    Ok(())
}

fn subject(form: &Form) -> Result<SubjectToken, Error> {
    let text = form.one("subject_token")?.ok_or(Denial::MissingToken)?;
    let token = TokenText::new(text)?;
    match form.required("subject_token_type")? {
        REFRESH_TYPE => Ok(SubjectToken::Grant(token)),
        ACCESS_TYPE => Ok(SubjectToken::Access(token)),
        ROOT_TYPE => Ok(SubjectToken::Root(token)),
        _ => Err(Error::InvalidRequest(format!(
            "`subject_token_type` is none of `{REFRESH_TYPE}` (a grant), `{ACCESS_TYPE}`, `{ROOT_TYPE}`"
        ))),
    }
}

/// A token as a client sent it.
pub(super) fn presented(text: &str, word: Word) -> Result<TokenText, Error> {
    TokenText::new(text).map_err(|denial| Error::from(denial).said(word))
}
