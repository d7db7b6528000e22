//! `/v1/audit`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::extract::{Incoming, Listing};
use crate::api::{Refusal, views};
use crate::authority::Authority;

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    listing: Listing,
) -> Result<Json<Value>, Refusal> {
    let rows = authority
        .audit_log(&incoming.call(), listing.page()?)
        .await?;
    let cursor = rows.last().map(|row| row.seq.to_string());
    let items: Vec<Value> = rows.iter().map(views::audit).collect();
    Ok(views::list(&items, listing.limit(), cursor))
}
