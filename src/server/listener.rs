//! What is spoken at the API's door, and its limits.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use crate::web::listener::{Came, KeepAlive, Listener};
use crate::web::transport::Transport;

/// How long the head of a request may take, and the next request on a connection.
const REQUEST_HEAD: Duration = Duration::from_secs(30);
/// The longest head of a request: a token of 6 KiB, a proof, and what proxies add.
const MAX_HEAD: usize = 32 * 1024;
const KEEP_ALIVE: KeepAlive = KeepAlive {
    time: Duration::from_mins(1),
    interval: Duration::from_secs(10),
    retries: 6,
    unacknowledged: None,
};

/// Serves `router` on `listener` until `shutdown` is ready, then waits until
/// what was begun has ended.
pub(super) async fn serve(listener: Listener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut http = http1::Builder::new();
    // The time runs between requests too: idle connections are closed by it.
    http.timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD)
        .max_header_size(MAX_HEAD);
    let stops = watch::Sender::new(false);
    let each = |transport, came| {
        let (http, stop) = (http.clone(), stops.subscribe());
        connection(http, stop, transport, came, router.clone())
    };
    let mut connections = listener.accept(shutdown, KEEP_ALIVE, each).await;
    stops.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    http: http1::Builder,
    mut stop: watch::Receiver<bool>,
    transport: Transport,
    came: Came,
    router: Router,
) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(came));
        let mut router = router.clone();
        async move { tower_service::Service::call(&mut router, request).await }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(transport), service));
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stop.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, peer = %came.from, "connection ended");
    }
}
