//! `/v1/revocations`: what ended, for verifiers that have no database. It says no
//! more than a list of ids, and like the keys it is for everybody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hardtack_token::FeedPage;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::api::Refusal;
use crate::api::extract::{Incoming, Listing};
use crate::authority::Authority;

/// Where the feed is.
pub(super) const PATH: &str = "/v1/revocations";

pub(super) async fn list(
    State(authority): State<Arc<Authority>>,
    // Nobody needs a credential; each address is counted all the same.
    _incoming: Incoming,
    listing: Listing,
) -> Result<Response, Refusal> {
    let feed = authority.feed(listing.page()?).await?;
    let position = feed.position.to_string();
    let mut response = Json(FeedPage {
        instance_id: authority.instance_id().to_string(),
        as_of: feed.as_of.to_string(),
        keys_version: feed.keys_version,
        next: feed.more.then(|| position.clone()),
        position,
        items: feed.ended,
    })
    .into_response();
    // SECURITY: an old copy hides what ended since.
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
