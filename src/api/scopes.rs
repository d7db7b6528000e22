//! `/v1/scopes`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use hardtack_token::{Declared, Implied};
use serde_json::{Value, json};

use crate::api::extract::Incoming;
use crate::api::{Refusal, views};
use crate::authority::Authority;

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
) -> Result<Json<Value>, Refusal> {
    let policy = authority.catalog(&incoming.call()).await?;
    let items: Vec<Value> = policy.catalog().declared().iter().map(scope).collect();
    // The catalog is one page, however long.
    Ok(views::list(&items, usize::MAX, None))
}

fn scope(declared: &Declared) -> Value {
    let implied = |implied: &Implied| match implied {
        Implied::Scope(scope) => scope.to_string(),
        Implied::Under(prefix) => format!("{prefix}.*"),
    };
    json!({
        "name": declared.scope.as_str(),
        "description": declared.description,
        "implies": declared.implies.iter().map(implied).collect::<Vec<_>>(),
    })
}
