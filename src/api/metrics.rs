//! `/metrics`: what this node counts, for Prometheus.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use crate::api::Api;
use crate::web::metrics::{MEDIA_TYPE, Now};

pub(super) async fn show(State(api): State<Api>) -> Response {
    let now = Now {
        verifier: api.authority.verifier(),
        time: api.authority.now(),
    };
    match api.metrics.text(&now) {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
