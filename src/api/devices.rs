//! `/v1/devices`

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;

use crate::api::extract::{Incoming, Json, Listing, Path, id};
use crate::api::{Refusal, views};
use crate::authority::error::Error;
use crate::authority::{Authority, OPERATOR};
use crate::domain::grant::GrantStatus;
use crate::store::GrantFilter;

const WHAT: &str = "device";

/// The body of a revocation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    dry_run: Option<bool>,
}

/// The body of a retirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retire {}

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
) -> Result<Answer<Value>, Refusal> {
    let filter = GrantFilter {
        device: None,
        status: listing.get("status").map(status).transpose()?,
    };
    let devices = authority
        .devices(&incoming.call(), filter, listing.page()?)
        .await?;
    let cursor = devices.last().map(|d| d.id.to_string());
    let items: Vec<Value> = devices.iter().map(views::device).collect();
    Ok(views::list(&items, listing.limit(), cursor))
}

pub(super) async fn show(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
    Path(text): Path,
) -> Result<Answer<Value>, Refusal> {
    let devices = authority.device(&incoming.call(), id(&text, WHAT)?).await?;
    // One device may have several roles; without `role` the newest grant stands for it.
    let role = listing.get("role");
    let wanted = devices
        .iter()
        .rfind(|d| role.is_none_or(|r| r == d.role.as_str()));
    let device = wanted.ok_or(Error::NotFound(WHAT))?;
    Ok(Answer(views::device(device)))
}

pub(super) async fn grant(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
    Path(text): Path,
) -> Result<Answer<Value>, Refusal> {
    let role = listing.get("role").unwrap_or(OPERATOR);
    let role = role.parse().map_err(|_| Error::NotFound("grant"))?;
    let (proof, target) = (incoming.proof(), incoming.target());
    let (grant, token) = authority
        .fetch_grant(id(&text, "grant")?, &role, proof, target)
        .await?;
    Ok(Answer(views::grant(grant, &token)))
}

pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(body): Json<Revoke>,
) -> Result<Answer<Value>, Refusal> {
    let dry_run = body.dry_run.unwrap_or(false);
    let ending = authority
        .revoke(&incoming.call(), id(&text, WHAT)?, dry_run)
        .await?;
    Ok(Answer(views::ending(&ending)))
}

pub(super) async fn retire(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(Retire {}): Json<Retire>,
) -> Result<Answer<Value>, Refusal> {
    let ending = authority.retire(&incoming.call(), id(&text, WHAT)?).await?;
    Ok(Answer(views::ending(&ending)))
}

fn status(text: &str) -> Result<GrantStatus, Error> {
    GrantStatus::parse(text)
        .ok_or_else(|| Error::InvalidRequest("`status` is none of a device's".to_owned()))
}
