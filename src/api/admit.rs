//! How many requests are under way at once, and how long each may take.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::api::Refusal;
use crate::authority::error::Error;

/// How long a request may take until its answer begins, its body included.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How many may be under way at once. Writers queue for one connection of the
/// database, and who would be further behind in the queue is better told so.
const AT_ONCE: usize = 512;
/// Who looks whether the node lives must not hear that it is busy.
const ALWAYS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The places of requests that are under way.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Lets a request in, if there is a place, for as long as it may take.
pub(super) async fn admit(
    State(Places(places)): State<Places>,
    request: Request,
    next: Next,
) -> Response {
    let always = ALWAYS.contains(&request.uri().path());
    let Ok(_place) = places.try_acquire() else {
        return if always {
            next.run(request).await
        } else {
            Refusal::from(Error::Overloaded).into_response()
        };
    };
    let answer = tokio::time::timeout(TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| Refusal::from(Error::TimedOut).into_response())
}

/// The answer in the place of one whose handler panicked.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Refusal::from(Error::Panicked).into_response()
}
