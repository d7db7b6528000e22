//! `/v1/service-tokens`

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hardtack_token::{InvalidId, ScopeSet, ServiceName};
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::extract::{Incoming, Json, Listing, Path, id};
use crate::api::{Refusal, views};
use crate::authority::Authority;
use crate::authority::error::Error;
use crate::authority::service_token::NewService;
use crate::domain::service_token::ServiceStatus;

const WHAT: &str = "service token";

/// The body of an issue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issue {
    name: String,
    scopes: Vec<String>,
    audience: Option<String>,
    expires_in: Option<u64>,
}

/// The body of a revocation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {}

pub(super) async fn issue(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Json(body): Json<Issue>,
) -> Result<Response, Refusal> {
    let new = body.read()?;
    let issued = authority
        .issue_service_token(&incoming.call(), &new)
        .await?;
    let mut view = views::service_token(&issued.service, authority.now());
    if let Some(members) = view.as_object_mut() {
        // This once: it is kept nowhere.
        members.insert("token".into(), json!(issued.token.expose()));
    }
    let mut response = (StatusCode::CREATED, Answer(view)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
) -> Result<Answer<Value>, Refusal> {
    let status = listing.get("status").map(status).transpose()?;
    let found = authority
        .service_tokens(&incoming.call(), status, listing.page()?)
        .await?;
    let cursor = found.last().map(|service| service.grant.id.to_string());
    let now = authority.now();
    let items: Vec<Value> = found
        .iter()
        .map(|service| views::service_token(service, now))
        .collect();
    Ok(views::list(&items, listing.limit(), cursor))
}

pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(Revoke {}): Json<Revoke>,
) -> Result<Answer<Value>, Refusal> {
    let service = authority
        .revoke_service_token(&incoming.call(), id(&text, WHAT)?)
        .await?;
    Ok(Answer(views::service_token(&service, authority.now())))
}

impl Issue {
    fn read(self) -> Result<NewService, Error> {
        let invalid = |error: InvalidId| Error::InvalidRequest(error.to_string());
        let scopes = self.scopes.iter().map(|scope| scope.parse());
        Ok(NewService {
            name: self.name.parse::<ServiceName>().map_err(invalid)?,
            scopes: scopes.collect::<Result<ScopeSet, _>>().map_err(invalid)?,
            audience: self.audience,
            expires_in: self.expires_in,
        })
    }
}

fn status(text: &str) -> Result<ServiceStatus, Error> {
    ServiceStatus::parse(text)
        .ok_or_else(|| Error::InvalidRequest("`status` is none of a service token's".to_owned()))
}
