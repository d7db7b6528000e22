//! `/oauth/device_authorization` (RFC 8628), and the page that people are sent
//! to with the code.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use serde::Serialize;

use super::client::proofs;
use super::{VERIFICATION_PATH, no_store};
use crate::api::Refusal;
use crate::api::extract::{Form, Incoming, Listing};
use crate::authority::error::Error;
use crate::authority::{Authority, OPERATOR};
use crate::domain::pairing::{Ask, DeviceName, Metadata};
use crate::domain::user_code::UserCode;

/// A device authorization response (RFC 8628 section 3.2).
#[derive(Debug, Serialize)]
struct DeviceCodes {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: String,
    /// Seconds.
    expires_in: u64,
    /// Seconds.
    interval: u64,
}

pub(in crate::api) async fn authorize(
    State(authority): State<Arc<Authority>>,
    incoming: Incoming,
    form: Form,
) -> Result<Response, Refusal> {
    let ask = ask(&form)?;
    let proofs = proofs(&incoming, &form)?;
    let asked = authority
        .authorize_device(ask, proofs, incoming.from())
        .await?;
    let page = format!("{}{VERIFICATION_PATH}", authority.settings().issuer);
    let user_code = asked.view.request.user_code.to_string();
    Ok(no_store(DeviceCodes {
        device_code: asked.device_code,
        verification_uri_complete: format!("{page}?user_code={user_code}"),
        verification_uri: page,
        user_code,
        expires_in: asked.expires_in,
        interval: asked.interval,
    }))
}

/// `scope` as RFC 8628 has it; `role` and `name` are hardtack's own.
fn ask(form: &Form) -> Result<Ask, Error> {
    let invalid = |error: &dyn std::error::Error| Error::InvalidRequest(error.to_string());
    let role = form.one("role")?.unwrap_or(OPERATOR);
    let name = form.one("name")?.unwrap_or_default();
    Ok(Ask {
        role: role.parse().map_err(|e| invalid(&e))?,
        scopes: form.scopes()?.unwrap_or_default(),
        name: DeviceName::new(name).map_err(|e| invalid(&e))?,
        metadata: Metadata::default(),
    })
}

/// The page that shows what to type where somebody holds authority.
///
/// SECURITY: it looks nothing up. Whether there is a request with a code is
/// told to operators alone, so that there is nothing to guess against.
pub(in crate::api) async fn page(listing: Listing) -> Response {
    let typed = listing.get("user_code").and_then(UserCode::parse);
    // Only what reads as a code is shown, in its own letters.
    let code = typed.map_or_else(|| "CODE".to_owned(), |code| code.to_string());
    let text = include_str!("device.html").replace("{code}", &code);
    let mut response = Html(text).into_response();
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
