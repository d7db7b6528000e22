//! Connections of HTTP/2 at the gateway's listener, which are there for questions.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::preface::Begun;
use crate::gateway::Gateway;
use crate::gateway::body::AnswerBody;
use crate::gateway::log::Line;
use crate::gateway::refusal::{Refusal, Refused};
use crate::gateway::reverse_proxy::Sender;
use crate::gateway::tunnel::Open;
use crate::web::listener::Came;
use crate::web::peer::Peer;

/// How many questions a connection may have open at a time.
const MAX_STREAMS: u32 = 1024;
/// The longest head of one. What it asks about is in the message.
const MAX_HEAD: u32 = 16 * 1024;
/// When an idle proxy is asked whether it is still there, and how long it may take to say so.
const PING_AFTER: Duration = Duration::from_mins(1);
const PING_TIME: Duration = Duration::from_secs(20);

/// Serves a connection if it is HTTP/2, and gives it back if it is not.
pub(crate) async fn unless_http2<T>(
    connection: T,
    gateway: &Arc<Gateway>,
    came: Came,
    mut open: Open,
) -> Option<Begun<T>>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = timeout(gateway.timeouts().request_head, Begun::read(connection));
    let begun = tokio::select! {
        begun = begun => begun.ok()?.ok()?,
        _ = open.changed() => return None,
    };
    match begun {
        (connection, false) => Some(connection),
        (connection, true) => {
            serve(connection, Arc::clone(gateway), came, open).await;
            None
        }
    }
}

async fn serve<T>(connection: T, gateway: Arc<Gateway>, came: Came, mut open: Open)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(gateway.question(request, came).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIME)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .serve_connection(TokioIo::new(connection), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = open.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer = %came.from, "connection ended");
    }
}

impl Gateway {
    async fn question(&self, request: Request<Incoming>, came: Came) -> Response<AnswerBody> {
        let (parts, body) = request.into_parts();
        let peer = Peer::new(came, &self.trusted_proxies);
        let id = self.ids.next(self.decider.clock().now_millis());
        let sender = Sender {
            peer,
            client: peer.client(&parts.headers, &self.trusted_proxies),
            id: &id,
        };
        if super::is_check(&parts) {
            return self.check(&parts, body, sender).await;
        }
        let why = "HTTP/2 is spoken here to Envoy's ext_authz only";
        let refused = Refused::unknown(Refusal::InvalidRequest(why.into()));
        let line = Line {
            method: parts.method.as_str(),
            path: parts.uri.path(),
        };
        self.refuse(&refused, line, sender)
    }
}
