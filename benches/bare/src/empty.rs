//! The least that a forward-auth server can do: an empty answer.

use axum::Router;
use axum::serve::ListenerExt;
use http::StatusCode;

use crate::Outcome;

pub async fn serve() -> Outcome {
    let router = Router::new().fallback(async || StatusCode::NO_CONTENT);
    let listener = crate::listener().await?;
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or(()));
    axum::serve(listener, router).await?;
    Ok(())
}
