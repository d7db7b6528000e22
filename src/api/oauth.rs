//! `/oauth`: the endpoints that any OAuth client knows.

mod client;
mod device;
mod error;
mod form;
mod introspect;
mod revoke;
mod token;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue, PRAGMA};
use serde::Serialize;

pub(super) use device::{authorize as device_authorization, page as verification_page};
pub(crate) use error::OAuthError;
pub(super) use introspect::introspect;
pub(super) use revoke::revoke;
pub(super) use token::token;

/// Where the endpoints are.
pub(crate) use crate::authority::proof::TOKEN_PATH;
pub(crate) const DEVICE_AUTHORIZATION_PATH: &str = "/oauth/device_authorization";
pub(crate) const INTROSPECTION_PATH: &str = "/oauth/introspect";
pub(crate) const REVOCATION_PATH: &str = "/oauth/revoke";

/// Grant types, as clients name them and as metadata lists them.
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub(crate) const REFRESH_TOKEN: &str = "refresh_token";
pub(crate) const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Where the page is that people are sent to with a user code.
pub(crate) const VERIFICATION_PATH: &str = "/device";

/// A JSON answer that no cache keeps (RFC 6749 section 5.1).
fn no_store(body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
