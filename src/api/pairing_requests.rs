//! `/v1/pairing-requests`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hardtack_token::ScopeSet;
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::api::extract::{Incoming, Json, Listing, Path, id};
use crate::api::{Refusal, views};
use crate::authority::approve::Narrowing;
use crate::authority::error::Error;
use crate::authority::pairing::POLL_INTERVAL;
use crate::authority::redeem::InvitedAsk;
use crate::authority::{Authority, OPERATOR};
use crate::domain::pairing::{Ask, DeviceName, Metadata};
use crate::store::RequestFilter;

const WHAT: &str = "pairing request";

/// The body of a device's ask.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    role: Option<String>,
    scopes: Option<Vec<String>>,
    name: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
}

/// The body of an approval.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    scopes: Option<Vec<String>>,
    expires_in: Option<u64>,
    name: Option<String>,
}

/// The body of a rejection.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reject {
    reason: Option<String>,
}

pub(super) async fn create(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Json(body): Json<Create>,
) -> Result<Response, Refusal> {
    if !incoming.is_bare() {
        return Err(Error::InvalidRequest(
            "a pairing request proves a key with `DPoP` and takes no `Authorization` but `Invite`"
                .to_owned(),
        )
        .into());
    }
    let (proof, target, address) = (incoming.proof(), incoming.target(), &incoming.address);
    let view = if let Some(code) = incoming.invite() {
        let ask = body.into_invited()?;
        let redeemed = authority.redeem_invite(code, proof, target, ask, address);
        redeemed.await?
    } else {
        let ask = body.into_ask()?;
        let asked = authority.request_pairing(proof, target, ask, address);
        asked.await?
    };
    let value = axum::Json(views::device_request(&view, authority.now()));
    if view.grant.is_some() {
        return Ok(value.into_response());
    }
    let mut headers = HeaderMap::new();
    let location = format!("/v1/pairing-requests/{}", view.request.id);
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(LOCATION, location);
    }
    headers.insert(RETRY_AFTER, POLL_INTERVAL.into());
    Ok((StatusCode::ACCEPTED, headers, value).into_response())
}

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
) -> Result<axum::Json<Value>, Refusal> {
    let filter = RequestFilter {
        status: listing.get("status").map(status).transpose()?,
    };
    let requests = authority
        .pairing_requests(&incoming.call(), filter, listing.page()?)
        .await?;
    let cursor = requests.last().map(|r| r.id.to_string());
    let now = authority.now();
    let items: Vec<Value> = requests.iter().map(|r| views::request(r, now)).collect();
    Ok(views::list(&items, listing.limit(), cursor))
}

pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
) -> Result<axum::Json<Value>, Refusal> {
    let id = id(&text, WHAT)?;
    let now = authority.now();
    if incoming.is_bare() && incoming.proof().is_some() {
        let view = authority
            .fetch(id, incoming.proof(), incoming.target())
            .await?;
        return Ok(axum::Json(views::device_request(&view, now)));
    }
    let request = authority.pairing_request(&incoming.call(), id).await?;
    Ok(axum::Json(views::request(&request, now)))
}

pub(super) async fn approve(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(body): Json<Approve>,
) -> Result<axum::Json<Value>, Refusal> {
    let narrowing = body.into_narrowing()?;
    let approval = authority
        .approve(&incoming.call(), id(&text, WHAT)?, &narrowing)
        .await?;
    Ok(axum::Json(views::approval(&approval)))
}

pub(super) async fn reject(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(body): Json<Reject>,
) -> Result<axum::Json<Value>, Refusal> {
    let reason = body.reason.as_deref().map(DeviceName::new).transpose();
    let reason = reason.map_err(|_| Error::InvalidRequest("`reason` is too long".to_owned()))?;
    let reason = reason.map(|r| r.as_str().to_owned());
    let request = authority
        .reject(&incoming.call(), id(&text, WHAT)?, reason)
        .await?;
    Ok(axum::Json(views::request(&request, authority.now())))
}

impl Create {
    fn into_ask(self) -> Result<Ask, Error> {
        Ok(Ask {
            role: self
                .role
                .as_deref()
                .unwrap_or(OPERATOR)
                .parse()
                .map_err(invalid)?,
            scopes: scopes(&self.scopes.unwrap_or_default())?,
            name: DeviceName::new(&self.name.unwrap_or_default()).map_err(invalid)?,
            metadata: Metadata::new(self.metadata.unwrap_or_default()).map_err(invalid)?,
        })
    }
}

impl Create {
    /// What a device asks for that was invited: what it leaves out is as the
    /// invite says.
    fn into_invited(self) -> Result<InvitedAsk, Error> {
        let role = self.role.as_deref().map(str::parse).transpose();
        Ok(InvitedAsk {
            role: role.map_err(invalid)?,
            scopes: self.scopes.as_deref().map(scopes).transpose()?,
            name: DeviceName::new(&self.name.unwrap_or_default()).map_err(invalid)?,
            metadata: Metadata::new(self.metadata.unwrap_or_default()).map_err(invalid)?,
        })
    }
}

impl Approve {
    fn into_narrowing(self) -> Result<Narrowing, Error> {
        Ok(Narrowing {
            scopes: self.scopes.as_deref().map(scopes).transpose()?,
            expires_in: self.expires_in,
            name: self
                .name
                .as_deref()
                .map(DeviceName::new)
                .transpose()
                .map_err(invalid)?,
        })
    }
}

pub(super) fn scopes(texts: &[String]) -> Result<ScopeSet, Error> {
    texts
        .iter()
        .map(|text| text.parse().map_err(invalid))
        .collect()
}

/// A text that is not of its type, as the caller is told.
pub(super) fn invalid(error: impl std::error::Error) -> Error {
    Error::InvalidRequest(error.to_string())
}

fn status(text: &str) -> Result<&'static str, Error> {
    ["pending", "approved", "rejected", "expired", "superseded"]
        .into_iter()
        .find(|known| *known == text)
        .ok_or_else(|| Error::InvalidRequest("`status` is none of a request's".to_owned()))
}
