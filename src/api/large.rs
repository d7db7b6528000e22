//! Bodies that say they are too large.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt;

use crate::api::{MAX_BODY, Refusal};
use crate::authority::error::Error;

/// The longest body that is read only to be dropped, in bytes.
const MAX_DROPPED: u64 = 16 * 1024 * 1024;

/// Refuses a body that is too large by its length. It is read and dropped first,
/// since many clients look for an answer only when all is sent, and a connection
/// that is closed on them before has lost the answer. Who waits for leave to send
/// (`Expect: 100-continue`) is answered at once.
pub(super) async fn refuse(request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let Some(length) = length.filter(|length| *length > MAX_BODY as u64) else {
        return next.run(request).await;
    };
    if length <= MAX_DROPPED && !request.headers().contains_key(EXPECT) {
        drop_all(request.into_body()).await;
    }
    Refusal::from(Error::TooLarge).into_response()
}

async fn drop_all(mut body: Body) {
    while let Some(Ok(frame)) = body.frame().await {
        drop(frame);
    }
}
