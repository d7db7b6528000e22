//! The HTTP API of the authority: resources under `/v1`, OAuth under `/oauth`,
//! metadata under `/.well-known`. Handlers translate; the authority decides.

mod admit;
mod audit;
mod backup;
mod devices;
mod events;
mod extract;
mod finish;
mod health;
mod invites;
mod large;
mod metrics;
mod oauth;
mod pairing_requests;
mod problem;
mod revocations;
mod scopes;
mod service_tokens;
mod views;
mod well_known;
mod whoami;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use ipnet::IpNet;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use crate::authority::Authority;
use crate::authority::error::Error;
use crate::web::metrics::Metrics;
use admit::Places;

/// The longest request body, in bytes: the largest honest one is a form with two
/// tokens and an assertion.
const MAX_BODY: usize = 64 * 1024;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Api {
    /// The authority.
    pub authority: Arc<Authority>,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What this node counts.
    pub metrics: Arc<Metrics>,
    /// Whether the node stops: then what is open without an end of its own ends.
    pub stop: watch::Receiver<bool>,
}

impl FromRef<Api> for Arc<Authority> {
    fn from_ref(api: &Api) -> Self {
        Self::clone(&api.authority)
    }
}

/// A refusal on its way out. What it says is put together in one place, when
/// the request id is known.
#[derive(Debug)]
pub(crate) struct Refusal(Error);

impl<E: Into<Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// All routes of the API.
pub fn router(api: Api) -> Router {
    let finish = from_fn_with_state(api.clone(), finish::finish);
    Router::new()
        .route(
            "/v1/pairing-requests",
            post(pairing_requests::create).get(pairing_requests::list),
        )
        .route("/v1/pairing-requests/{id}", get(pairing_requests::show))
        .route(
            "/v1/pairing-requests/{id}/approve",
            post(pairing_requests::approve),
        )
        .route(
            "/v1/pairing-requests/{id}/reject",
            post(pairing_requests::reject),
        )
        .route("/v1/devices", get(devices::list))
        .route("/v1/devices/{id}", get(devices::show))
        .route("/v1/devices/{id}/grant", get(devices::grant))
        .route("/v1/devices/{id}/revoke", post(devices::revoke))
        .route("/v1/devices/{id}/retire", post(devices::retire))
        .route("/v1/invites", post(invites::create).get(invites::list))
        .route("/v1/invites/{id}/revoke", post(invites::revoke))
        .route("/v1/events", get(events::follow))
        .route(
            "/v1/service-tokens",
            post(service_tokens::issue).get(service_tokens::list),
        )
        .route(
            "/v1/service-tokens/{id}/revoke",
            post(service_tokens::revoke),
        )
        .route("/v1/whoami", get(whoami::whoami))
        .route("/v1/scopes", get(scopes::list))
        .route("/v1/audit", get(audit::list))
        .route("/v1/backup", post(backup::make))
        .route(revocations::PATH, get(revocations::list))
        .route(oauth::TOKEN_PATH, post(oauth::token))
        .route(
            oauth::DEVICE_AUTHORIZATION_PATH,
            post(oauth::device_authorization),
        )
        .route(oauth::INTROSPECTION_PATH, post(oauth::introspect))
        .route(oauth::REVOCATION_PATH, post(oauth::revoke))
        .route(oauth::VERIFICATION_PATH, get(oauth::verification_page))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
        .route("/.well-known/hardtack", get(well_known::hardtack))
        .route(
            "/.well-known/oauth-authorization-server",
            get(well_known::authorization_server),
        )
        .route(
            "/.well-known/oauth-protected-resource",
            get(well_known::protected_resource),
        )
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn(large::refuse))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(admit::panicked))
        .layer(from_fn_with_state(Places::default(), admit::admit))
        // Outermost, so that every answer has an id and every refusal its form.
        .layer(finish)
        .with_state(api)
}
