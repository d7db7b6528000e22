//! The connections to one upstream.

use std::time::Duration;

use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::gateway::Timeouts;
use crate::gateway::body::Upload;
use crate::gateway::names::Names;
use crate::gateway::serve::KEEP_ALIVE;
use crate::gateway::upstream::Speaks;

/// How much of a body is held at a time, for each direction of a connection.
pub(crate) const BUFFER: usize = 64 * 1024;

/// How long a connection waits for its next request. Common upstreams (Node.js)
/// close after 5 s; a request that meets that close would fail.
const IDLE: Duration = Duration::from_secs(4);

/// How long what was sent may stay unacknowledged: an upstream that is gone
/// without a word does not keep its connections.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// The same over HTTP/2, where one connection carries all: when it is asked
/// whether the upstream is still there, and how long the answer may take.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_TIME: Duration = Duration::from_secs(10);
/// How much of one answer the upstream may be ahead of its client, and of all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// The longest head of an answer over HTTP/2.
const MAX_HEAD: u32 = 64 * 1024;

/// How connections to an upstream are made.
pub(crate) struct Links {
    pub(crate) speaks: Speaks,
    /// Whom its certificate has to be from, if it is to have one.
    pub(crate) tls: Option<ClientConfig>,
    pub(crate) names: Names,
    pub(crate) timeouts: Timeouts,
}

/// The connections to one upstream. Those that wait are closed with it; those that
/// are in use end with their requests.
pub(crate) struct Link {
    requests: Connections,
    /// A WebSocket needs a connection of HTTP/1.1 for itself.
    websockets: Connections,
}

#[derive(Clone)]
enum Connections {
    Plain(Client<Connector, Upload>),
    Tls(Client<HttpsConnector<Connector>, Upload>),
}

/// Looks names up for each connection.
type Connector = HttpConnector<Names>;

impl Links {
    /// None is made yet.
    pub(crate) fn connect(&self) -> Link {
        let builder = builder();
        let mut connector = self.connector();
        let Some(tls) = &self.tls else {
            let websockets = Connections::Plain(builder.build(connector.clone()));
            let requests = match self.speaks {
                Speaks::Http2 => {
                    let mut builder = builder;
                    builder.http2_only(true);
                    Connections::Plain(builder.build(connector))
                }
                Speaks::Http1 | Speaks::ByAlpn => websockets.clone(),
            };
            return Link {
                requests,
                websockets,
            };
        };
        connector.enforce_http(false);
        let encrypted = || {
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone());
            builder.https_only()
        };
        let both = encrypted().enable_all_versions();
        let http1 = encrypted().enable_http1();
        Link {
            requests: Connections::Tls(builder.build(both.wrap_connector(connector.clone()))),
            websockets: Connections::Tls(builder.build(http1.wrap_connector(connector))),
        }
    }

    fn connector(&self) -> Connector {
        let mut connector = HttpConnector::new_with_resolver(self.names.clone());
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.timeouts.connect));
        connector.set_keepalive(Some(KEEP_ALIVE.time));
        connector.set_keepalive_interval(Some(KEEP_ALIVE.interval));
        connector.set_keepalive_retries(Some(KEEP_ALIVE.retries));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        connector
    }
}

impl Link {
    pub(crate) fn request(&self, request: Request<Upload>, is_websocket: bool) -> ResponseFuture {
        let connections = if is_websocket {
            &self.websockets
        } else {
            &self.requests
        };
        match connections {
            Connections::Plain(client) => client.request(request),
            Connections::Tls(client) => client.request(request),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(BUFFER)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_send_buf_size(BUFFER)
        .http2_max_header_list_size(MAX_HEAD)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_TIME)
        // The head is complete when it comes here.
        .set_host(false);
    builder
}
