//! `/healthz`: the process lives. `/readyz`: it can decide and write.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use crate::authority::Authority;

pub(super) async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

pub(super) async fn readyz(State(authority): State<Arc<Authority>>) -> (StatusCode, Json<Value>) {
    let found = authority.readiness().await;
    let (status, word) = if found.is_ready() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    let said = |wrong: Option<String>| wrong.unwrap_or_else(|| "ok".to_owned());
    let checks = json!({"store": said(found.store), "revocations": said(found.revocations)});
    (status, Json(json!({"status": word, "checks": checks})))
}
