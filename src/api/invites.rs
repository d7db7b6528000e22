//! `/v1/invites`

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::extract::{Incoming, Json, Listing, Path, id};
use crate::api::pairing_requests::{invalid, scopes};
use crate::api::{Refusal, views};
use crate::authority::error::Error;
use crate::authority::invite::{DEFAULT_LIFE, Promise};
use crate::authority::{Authority, OPERATOR};
use crate::domain::pairing::DeviceName;

const WHAT: &str = "invite";

/// The body of an invitation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    role: Option<String>,
    scopes: Option<Vec<String>>,
    name: Option<String>,
    expires_in: Option<u64>,
    grant_expires_in: Option<u64>,
}

/// The body of taking one back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {}

pub(super) async fn create(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Json(body): Json<Create>,
) -> Result<(StatusCode, Answer<Value>), Refusal> {
    let promise = body.into_promise()?;
    let (invite, code) = authority.invite(&incoming.call(), promise).await?;
    let mut view = views::invite(&invite, authority.now());
    if let Some(members) = view.as_object_mut() {
        members.insert("code".into(), json!(code.expose()));
    }
    Ok((StatusCode::CREATED, Answer(view)))
}

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
) -> Result<Answer<Value>, Refusal> {
    let invites = authority.invites(&incoming.call(), listing.page()?).await?;
    let cursor = invites.last().map(|invite| invite.id.to_string());
    let now = authority.now();
    let items: Vec<Value> = invites.iter().map(|i| views::invite(i, now)).collect();
    Ok(views::list(&items, listing.limit(), cursor))
}

pub(super) async fn revoke(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    Path(text): Path,
    Json(Revoke {}): Json<Revoke>,
) -> Result<Answer<Value>, Refusal> {
    let id = id(&text, WHAT)?;
    let invite = authority.revoke_invite(&incoming.call(), id).await?;
    Ok(Answer(views::invite(&invite, authority.now())))
}

impl Create {
    fn into_promise(self) -> Result<Promise, Error> {
        let role = self.role.as_deref().unwrap_or(OPERATOR);
        let name = self.name.unwrap_or_default();
        Ok(Promise {
            role: role.parse().map_err(invalid)?,
            scopes: scopes(&self.scopes.unwrap_or_default())?,
            name: DeviceName::new(&name).map_err(invalid)?,
            life: self.expires_in.unwrap_or(DEFAULT_LIFE),
            grant_life: self.grant_expires_in,
        })
    }
}
