//! `/v1/whoami`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::api::extract::Incoming;
use crate::api::{Refusal, views};
use crate::authority::Authority;

pub(super) async fn whoami(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
) -> Result<Json<Value>, Refusal> {
    let caller = authority.whoami(&incoming.call()).await?;
    let instance_id = authority.instance_id().to_string();
    Ok(Json(views::whoami(&caller, &instance_id)))
}
