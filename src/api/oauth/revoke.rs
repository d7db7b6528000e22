//! `/oauth/revoke` (RFC 7009)

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::client::proofs;
use super::no_store;
use crate::api::Refusal;
use crate::api::extract::{Form, Incoming};
use crate::authority::Authority;

/// `token_type_hint` is not needed: a token says what it is.
pub(in crate::api) async fn revoke(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    form: Form,
) -> Result<Response, Refusal> {
    let token = form.required("token")?;
    let proofs = proofs(&incoming, &form)?;
    authority
        .revoke_token(token, proofs, incoming.from())
        .await?;
    Ok(no_store(json!({})))
}
