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
mod openapi;
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
use ipnet::IpNet;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use crate::authority::Authority;
use crate::authority::error::Error;
use crate::web::metrics::Metrics;
use admit::Places;
use openapi::{Route, oauth as of_oauth, open, v1};

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

/// Every route with its description.
fn routes() -> Vec<Route> {
    vec![
        v1::ask().by(pairing_requests::create),
        v1::list_requests().by(pairing_requests::list),
        v1::show_request().by(pairing_requests::show),
        v1::approve().by(pairing_requests::approve),
        v1::reject().by(pairing_requests::reject),
        v1::list_devices().by(devices::list),
        v1::show_device().by(devices::show),
        v1::fetch_grant().by(devices::grant),
        v1::revoke_device().by(devices::revoke),
        v1::retire_device().by(devices::retire),
        v1::invite().by(invites::create),
        v1::list_invites().by(invites::list),
        v1::revoke_invite().by(invites::revoke),
        v1::events().by(events::follow),
        v1::issue_service().by(service_tokens::issue),
        v1::list_services().by(service_tokens::list),
        v1::revoke_service().by(service_tokens::revoke),
        v1::whoami().by(whoami::whoami),
        v1::scopes().by(scopes::list),
        v1::audit().by(audit::list),
        v1::backup().by(backup::make),
        v1::revocations().by(revocations::list),
        of_oauth::token().by(oauth::token),
        of_oauth::device_authorization().by(oauth::device_authorization),
        of_oauth::introspect().by(oauth::introspect),
        of_oauth::revoke().by(oauth::revoke),
        open::verification_page().by(oauth::verification_page),
        open::healthz().by(health::healthz),
        open::readyz().by(health::readyz),
        open::metrics().by(metrics::show),
        open::hardtack().by(well_known::hardtack),
        open::authorization_server().by(well_known::authorization_server),
        open::protected_resource().by(well_known::protected_resource),
    ]
}

/// The API. What it answers is described in `/openapi.json`, by the same list.
pub fn router(api: Api) -> Router {
    let finish = from_fn_with_state(api.clone(), finish::finish);
    openapi::router(routes())
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
