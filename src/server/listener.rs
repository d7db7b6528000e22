//! What is spoken at the API's door, and its limits.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::timeout;
use tower_service::Service;

use crate::web::http2;
use crate::web::listener::{Came, KeepAlive, Listener};
use crate::web::preface::Begun;
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
    let begun = tokio::select! {
        begun = timeout(REQUEST_HEAD, Begun::read(transport)) => begun,
        _ = stop.changed() => return,
    };
    let ended = match begun {
        Ok(Ok((connection, true))) => Box::pin(serve_http2(connection, stop, came, router)).await,
        Ok(Ok((connection, false))) => serve_http1(http, connection, stop, came, router).await,
        Ok(Err(error)) => Err(error.into()),
        Err(elapsed) => Err(elapsed.into()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %came.from, "connection ended");
    }
}

type Ended = Result<(), Box<dyn Error + Send + Sync>>;

async fn serve_http1(
    http: http1::Builder,
    connection: Begun<Transport>,
    mut stop: watch::Receiver<bool>,
    came: Came,
    router: Router,
) -> Ended {
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, came, request).await) }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn serve_http2(
    connection: Begun<Transport>,
    stop: watch::Receiver<bool>,
    came: Came,
    router: Router,
) -> Ended {
    let service = move |request| answer(router.clone(), came, request);
    Ok(http2::serve(connection, REQUEST_HEAD, stop, service).await?)
}

async fn answer(mut router: Router, came: Came, mut request: Request<Incoming>) -> Response {
    request.extensions_mut().insert(ConnectInfo(came));
    let Ok(response) = router.call(request).await;
    response
}
