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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::gateway::Gateway;
use crate::gateway::proxy::BUFFER;
use crate::gateway::upgrade::Open;

/// The longest head of a request. A token takes up to 6 KiB of it.
const MAX_HEAD: usize = 32 * 1024;

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
    let http = protocol(&gateway);
    let (serving, open) = watch::channel(());
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
                connections.spawn(connection(
                    http.clone(),
                    stream,
                    peer.ip(),
                    gateway,
                    open.clone(),
                ));
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
    drop(serving);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(gateway.timeouts().drain, all)
        .await
        .is_err()
    {
        let left = connections.len();
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
    mut open: Open,
) {
    // Without it a small answer waits for the acknowledgement of what was
    // before. It fails only on a socket that is closed already.
    stream.set_nodelay(true).ok();
    let for_tunnels = open.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, open) = (Arc::clone(&gateway), for_tunnels.clone());
        async move { Ok::<_, Infallible>(gateway.handle(request, peer, open).await) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = open.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

/// Whether a failed `accept` concerns only the connection that it was for.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
