//! The permit of a request, for axum's handlers.

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use crate::access::Permit;

impl<S: Sync> FromRequestParts<S> for Permit {
    type Rejection = (StatusCode, &'static str);

    /// SECURITY: a route that the layer is not on has no permit, and its handler
    /// does not run.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let permit = parts.extensions.get::<Self>().cloned();
        permit.ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "this route asks for a permit and no AuthorizeLayer is on it",
        ))
    }
}
