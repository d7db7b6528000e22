//! `/healthz`: the process lives. `/readyz`: it can decide and write.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::authority::{Authority, FEED_BOUND};

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn readyz(State(authority): State<Arc<Authority>>) -> (StatusCode, Json<Value>) {
    let store = match authority.check_store().await {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let as_of = authority.verifier().revocations().as_of();
    let age = authority.now().since(as_of);
    let revocations = if age < FEED_BOUND {
        "ok".to_owned()
    } else {
        format!("last read {age} s ago")
    };
    let ready = store == "ok" && revocations == "ok";
    let body = json!({
        "status": if ready { "ok" } else { "unavailable" },
        "checks": {"store": store, "revocations": revocations},
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body))
}
