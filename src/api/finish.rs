//! The last layer: every answer has an id, every refusal its form, every
//! request one log line.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use tracing::Instrument;
use uuid::Uuid;

use crate::api::oauth::OAuthError;
use crate::api::problem::Problem;
use crate::api::{Api, Refusal};
use crate::authority::error::Error;
use crate::web::metrics::Stopwatch;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refusal that waits in a response for its request id.
#[derive(Clone)]
struct Waiting(std::sync::Arc<Error>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response
            .extensions_mut()
            .insert(Waiting(std::sync::Arc::new(self.0)));
        response
    }
}

/// Gives the request an id and its refusal a form.
pub(super) async fn finish(State(api): State<Api>, request: Request, next: Next) -> Response {
    let id = api.authority.request_id();
    let started = Stopwatch::start();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("api", %method, path, request_id = %id);
    async move {
        let mut response = next.run(request).await;
        if let Some(Waiting(error)) = response.extensions_mut().remove::<Waiting>() {
            response = render(&api, &error, &path, id);
        }
        if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        // Grants, codes and who is who: none of it is for a cache.
        if path.starts_with("/v1/") {
            let headers = response.headers_mut();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        let status = response.status().as_u16();
        let route = route.as_ref().map(MatchedPath::as_str);
        let took = started.took();
        api.metrics.answered(method.as_str(), route, status, took);
        tracing::debug!(status, "answered");
        response
    }
    .instrument(span)
    .await
}

fn render(api: &Api, error: &Error, path: &str, id: Uuid) -> Response {
    let problem = Problem::new(&api.authority, error, id);
    let code = problem.document.code;
    let response = if path.starts_with("/oauth/") {
        OAuthError::new(error, problem).into_response()
    } else {
        problem.into_response()
    };
    // What went wrong inside is for the log; the caller gets the request's id.
    let status = response.status();
    if status.is_server_error() {
        tracing::error!(code, %error, "failed");
    } else {
        tracing::info!(code, status = status.as_u16(), "refused");
    }
    response
}
