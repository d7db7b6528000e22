//! The listener: connections in, each served until it or the gateway closes.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::gateway::proxy::BUFFER;
use crate::gateway::reverse_proxy::Connection;

/// The longest head of a request. A token takes up to 6 KiB of it.
const MAX_HEAD: usize = 32 * 1024;

/// When an idle connection is asked whether the other end is still there, how
/// often then, and how many times for nothing until it is not.
pub(crate) const KEEPALIVE_TIME: Duration = Duration::from_mins(1);
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_RETRIES: u32 = 6;

/// How long nothing is accepted after the system refused to give a socket.
const BREATH: Duration = Duration::from_millis(100);

/// Serves `gateway` on `listener` until `shutdown` is ready. Then nothing is
/// accepted any more, WebSockets are closed, and requests that were begun have
/// the drain time to end.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    shutdown: impl Future<Output = ()>,
) {
    let streams = Arc::clone(&gateway.streams);
    tokio::select! {
        () = accept(listener, gateway, shutdown) => {}
        // SECURITY: in the same task, so that nothing is served without it.
        () = streams.watch() => {}
    }
}

async fn accept(listener: TcpListener, gateway: Arc<Gateway>, shutdown: impl Future<Output = ()>) {
    let http = protocol(&gateway);
    let stops = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            // Ended ones are taken out, so that the set does not grow.
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended by a fault of the gateway");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let gateway = Arc::clone(&gateway);
                let this = Connection {
                    open: stops.subscribe(),
                    cut: Arc::new(Notify::new()),
                };
                connections.spawn(connection(http.clone(), stream, peer.ip(), gateway, this));
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of files, most likely. It passes when others close.
                tracing::error!(%error, "cannot accept connections");
                tokio::select! {
                    () = &mut shutdown => break,
                    () = tokio::time::sleep(BREATH) => {}
                }
            }
        }
    }
    drop(listener);
    stops.send_replace(true);
    let all = async {
        while connections.join_next().await.is_some() {}
        // WebSockets have left their connections behind.
        stops.closed().await;
    };
    if tokio::time::timeout(gateway.timeouts().drain, all)
        .await
        .is_err()
    {
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
    stream: TcpStream,
    peer: IpAddr,
    gateway: Arc<Gateway>,
    this: Connection,
) {
    // Without it a small answer waits for the acknowledgement of what was
    // before. It fails only on a socket that is closed already.
    stream.set_nodelay(true).ok();
    keep_alive(&stream);
    let Connection { mut open, cut } = this.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, this) = (Arc::clone(&gateway), this.clone());
        async move { Ok::<_, Infallible>(gateway.handle(request, peer, this).await) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = open.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    let ended = tokio::select! {
        ended = served => ended,
        () = cut.notified() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

/// A client that is gone without a word is noticed in two minutes: an idle
/// WebSocket would else stay open for ever.
fn keep_alive(stream: &TcpStream) {
    let settings = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&settings).ok();
}

/// Whether a failed `accept` concerns only the connection that it was for.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
