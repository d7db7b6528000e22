//! A service of one's own behind hardtack's tokens: no call to the authority for
//! a request, and an end of a device that is known within a second.
//!
//! With an authority at port 7420 (`hardtack serve`):
//!
//! ```text
//! cargo run -p hardtack-token --example notes --features axum
//! curl -H "Authorization: Bearer $(hardtack token exchange --scopes operator.read \
//!     --audience http://127.0.0.1:8080)" http://127.0.0.1:8080/notes
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use hardtack_token::{AuthorizeLayer, Fetch, Follower, Limits, Permit, SystemClock};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = std::env::args().nth(1);
    let authority = authority.unwrap_or_else(|| "http://127.0.0.1:7420".to_owned());
    let mut follower = Follower::new(authority.parse()?, Arc::new(SystemClock), Limits::default());

    // What a service has to add: a layer, and what it requires.
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    let layer = AuthorizeLayer::new(&follower, "http://127.0.0.1:8080".parse()?);
    let app = Router::new()
        .route("/notes", get(notes))
        .layer(layer.require("operator.read".parse()?));

    tokio::spawn(async move {
        let mut client = Plain(Client::builder(TokioExecutor::new()).build_http());
        loop {
            // Until it is well again the layer denies: nothing else is to do.
            if let Err(error) = follower.read(&mut client).await {
                eprintln!("{error}");
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
    axum::serve(listener, app).await?;
    Ok(())
}

async fn notes(permit: Permit) -> String {
    let token = permit.access();
    format!(
        "notes of grant {}, for {}\n",
        token.grant_id(),
        token.scopes()
    )
}

/// A client for plain HTTP. Over a network this wants TLS: whoever can answer
/// for the authority decides which keys are trusted.
struct Plain(Client<HttpConnector, Empty<Bytes>>);

/// A page of the feed takes some 40 KiB.
const MAX_BODY: usize = 1024 * 1024;

impl Fetch for Plain {
    async fn fetch(&mut self, url: &str) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let answer = self.0.get(url.parse()?);
        let answer = timeout(Duration::from_secs(2), answer).await??;
        if !answer.status().is_success() {
            return Err(format!("it answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), MAX_BODY).collect();
        let body = timeout(Duration::from_secs(2), body).await??;
        Ok(body.to_bytes().to_vec())
    }
}
