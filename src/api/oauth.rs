//! `/oauth`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hardtack_token::{Denial, TokenText};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;

use crate::api::Refusal;
use crate::api::extract::{Form, Incoming};
use crate::authority::Authority;
use crate::authority::error::Error;
use crate::authority::exchange::{Issued, Proofs, SubjectToken, Wanted};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const REFRESH_TOKEN: &str = "urn:ietf:params:oauth:token-type:refresh_token";
const ROOT_TOKEN: &str = "urn:hardtack:token-type:root";

pub(super) async fn token(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    form: Form,
) -> Result<Response, Refusal> {
    let request = TokenRequest::read(&form)?;
    let proofs = Proofs {
        target: incoming.target(),
        dpop: incoming.proof(),
        assertion: request.assertion,
    };
    let issued = authority
        .exchange(&request.subject, &request.wanted, proofs, incoming.from())
        .await?;
    Ok(answer(&issued))
}

/// A request to the token endpoint, its members sorted out.
struct TokenRequest<'a> {
    subject: SubjectToken,
    wanted: Wanted,
    assertion: Option<&'a str>,
}

impl<'a> TokenRequest<'a> {
    fn read(form: &'a Form) -> Result<Self, Error> {
        match form.one("grant_type")? {
            Some(TOKEN_EXCHANGE) => {}
            Some(other) => {
                let shown = other.chars().take(100).collect();
                return Err(Error::UnsupportedGrantType(shown));
            }
            None => return Err(missing("grant_type")),
        }
        if let Some(other) = form.one("requested_token_type")?
            && other != ACCESS_TOKEN
        {
            return Err(Error::InvalidRequest(format!(
                "`requested_token_type` can be `{ACCESS_TOKEN}` only"
            )));
        }
        let assertion = form.one("client_assertion")?;
        let kind = form.one("client_assertion_type")?;
        if assertion.is_some() && kind != Some(JWT_BEARER) {
            return Err(Error::InvalidRequest(format!(
                "`client_assertion_type` must be `{JWT_BEARER}`"
            )));
        }
        Ok(Self {
            subject: subject(form)?,
            wanted: wanted(form)?,
            assertion,
        })
    }
}

fn subject(form: &Form) -> Result<SubjectToken, Error> {
    let text = form
        .one("subject_token")?
        .ok_or_else(|| missing("subject_token"))?;
    let token = TokenText::new(text).map_err(Error::from)?;
    match form.one("subject_token_type")? {
        Some(REFRESH_TOKEN) => Ok(SubjectToken::Grant(token)),
        Some(ACCESS_TOKEN) => Ok(SubjectToken::Access(token)),
        Some(ROOT_TOKEN) => Ok(SubjectToken::Root(token)),
        Some(_) => Err(Error::InvalidRequest(format!(
            "`subject_token_type` is none of `{REFRESH_TOKEN}` (a grant), `{ACCESS_TOKEN}`, `{ROOT_TOKEN}`"
        ))),
        None => Err(missing("subject_token_type")),
    }
}

fn wanted(form: &Form) -> Result<Wanted, Error> {
    let scopes = form.one("scope")?.map(str::parse).transpose();
    let scopes = scopes.map_err(|e: hardtack_token::InvalidId| {
        Error::InvalidRequest(format!("`scope` does not read: {e}"))
    })?;
    let expires_in = form.one("expires_in")?.map(str::parse).transpose();
    Ok(Wanted {
        scopes,
        audiences: ["audience", "resource"]
            .into_iter()
            .flat_map(|name| form.all(name).map(str::to_owned))
            .collect(),
        expires_in: expires_in
            .map_err(|_| Error::InvalidRequest("`expires_in` is no number".to_owned()))?,
    })
}

fn answer(issued: &Issued) -> Response {
    let mut body = json!({
        "access_token": issued.token.expose(),
        "token_type": if issued.bound { "DPoP" } else { "Bearer" },
        "expires_in": issued.expires_in,
        "scope": issued.scopes.to_string(),
        "issued_token_type": ACCESS_TOKEN,
    });
    if let (Some(warning), Some(members)) = (issued.warning, body.as_object_mut()) {
        members.insert("warning".into(), json!(warning));
    }
    let mut response = Json(body).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

impl Form {
    /// A member that may be there once (RFC 6749 section 3.2); an empty one is absent.
    fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Error> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value.filter(|v| !v.is_empty())),
            (_, Some(_)) => Err(Error::InvalidRequest(format!("`{name}` is there twice"))),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }
}

fn missing(name: &str) -> Error {
    match name {
        "subject_token" => Error::Denied(Denial::MissingToken),
        _ => Error::InvalidRequest(format!("`{name}` is missing")),
    }
}
