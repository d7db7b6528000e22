//! The listener: connections in, each served until it or the gateway closes.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::gateway::Gateway;
use crate::gateway::link::BUFFER;
use crate::gateway::reverse_proxy::Connection;
use crate::web::http2;
use crate::web::listener::{Came, KeepAlive, Listener};
use crate::web::preface::Begun;
use crate::web::transport::Transport;

/// The longest head of a request. A token takes up to 6 KiB of it.
const MAX_HEAD: usize = 32 * 1024;

/// A client that is gone without a word is noticed in two minutes: an idle
/// WebSocket would else stay open for ever.
pub(crate) const KEEP_ALIVE: KeepAlive = KeepAlive {
    time: Duration::from_mins(1),
    interval: Duration::from_secs(10),
    retries: 6,
    unacknowledged: None,
};

/// Serves `gateway` on `listener` until `shutdown` is ready. Then nothing is
/// accepted any more, WebSockets are closed, and requests that were begun have
/// the drain time to end.
pub async fn serve(listener: Listener, gateway: Arc<Gateway>, shutdown: impl Future<Output = ()>) {
    let looking_after = Arc::clone(&gateway);
    tokio::select! {
        () = accept(listener, gateway, shutdown) => {}
        // SECURITY: in the same task, so that nothing is served without it.
        () = looking_after.streams.watch() => {}
        () = looking_after.upstreams.follow() => {}
    }
}

async fn accept(listener: Listener, gateway: Arc<Gateway>, shutdown: impl Future<Output = ()>) {
    let http = protocol(&gateway);
    let stops = watch::Sender::new(false);
    let serve = |transport, came| {
        let this = Connection {
            open: stops.subscribe(),
            cut: Arc::new(Notify::new()),
            address: address(came),
        };
        connection(http.clone(), transport, came, Arc::clone(&gateway), this)
    };
    let mut connections = listener.accept(shutdown, KEEP_ALIVE, serve).await;
    stops.send_replace(true);
    let all = async {
        while connections.join_next().await.is_some() {}
        // WebSockets have left their connections behind.
        stops.closed().await;
    };
    if timeout(gateway.timeouts().drain, all).await.is_err() {
        let left = stops.receiver_count();
        tracing::warn!(left, "connections are cut off: the drain time is over");
    }
}

/// What is spoken with clients, and its limits.
fn protocol(gateway: &Gateway) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The time runs between requests too: idle connections are closed by it.
    http.timer(TokioTimer::new())
        .header_read_timeout(gateway.timeouts().request_head)
        .max_header_size(MAX_HEAD)
        .max_buf_size(BUFFER);
    http
}

async fn connection(
    http: http1::Builder,
    transport: Transport,
    came: Came,
    gateway: Arc<Gateway>,
    this: Connection,
) {
    let mut open = this.open.clone();
    let begun = timeout(gateway.timeouts().request_head, Begun::read(transport));
    let begun = tokio::select! {
        begun = begun => begun,
        _ = open.changed() => return,
    };
    let error: Box<dyn Error + Send + Sync> = match begun {
        Ok(Ok((connection, true))) => {
            match Box::pin(serve_http2(connection, came, gateway, this)).await {
                Ok(()) => return,
                Err(error) => error.into(),
            }
        }
        Ok(Ok((connection, false))) => {
            match serve_http1(http, connection, came, gateway, this).await {
                Ok(()) => return,
                Err(error) => error.into(),
            }
        }
        Ok(Err(error)) => error.into(),
        Err(elapsed) => elapsed.into(),
    };
    tracing::debug!(%error, peer = %came.from, "connection ended");
}

async fn serve_http1(
    http: http1::Builder,
    connection: Begun<Transport>,
    came: Came,
    gateway: Arc<Gateway>,
    this: Connection,
) -> hyper::Result<()> {
    let Connection { mut open, cut, .. } = this.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, this) = (Arc::clone(&gateway), this.clone());
        async move { Ok::<_, Infallible>(gateway.handle(request, came, this).await) }
    });
    let connection = http.serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection.with_upgrades());
    let served = async {
        tokio::select! {
            // In this order, for which no dice are thrown at each step.
            biased;
            ended = connection.as_mut() => return ended,
            _ = open.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    tokio::select! {
        biased;
        ended = served => ended,
        () = cut.notified() => Ok(()),
    }
}

async fn serve_http2(
    connection: Begun<Transport>,
    came: Came,
    gateway: Arc<Gateway>,
    this: Connection,
) -> Result<(), http2::Ended> {
    let idle = gateway.timeouts().request_head;
    let stop = this.open.clone();
    http2::serve(connection, idle, stop, move |request| {
        let (gateway, this) = (Arc::clone(&gateway), this.clone());
        async move {
            let this = Connection {
                cut: http2::cut(),
                ..this
            };
            gateway.handle(request, came, this).await
        }
    })
    .await
}

/// What `X-Forwarded-For` says of a connection, made once for all its requests.
fn address(came: Came) -> HeaderValue {
    let text = came.from.to_canonical().to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}
