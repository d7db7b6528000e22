//! The way to the upstream and back, streaming.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use crate::gateway::Timeouts;
use crate::gateway::body::{AnswerBody, Upload};
use crate::gateway::headers;
use crate::gateway::refusal::Refusal;
use crate::gateway::serve::KEEP_ALIVE;
use crate::gateway::streams::Stream;
use crate::gateway::tunnel::{self, Open};
use crate::gateway::upgrade;
use crate::gateway::upstream::Upstream;

/// How much of a body is held at a time, for each direction of a connection.
pub(crate) const BUFFER: usize = 64 * 1024;

/// How long a connection waits for its next request. Common upstreams (Node.js)
/// close after 5 s; a request that meets that close would fail.
const IDLE: Duration = Duration::from_secs(4);

/// An upstream and the connections to it.
pub(crate) struct Proxy {
    upstream: Upstream,
    client: Link,
    response_timeout: Duration,
}

enum Link {
    Plain(Client<HttpConnector, Upload>),
    Tls(Client<HttpsConnector<HttpConnector>, Upload>),
}

impl Proxy {
    /// Fails if the machine's certificates cannot be read and are needed.
    pub(crate) fn new(upstream: Upstream, timeouts: &Timeouts) -> io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeouts.connect));
        connector.set_keepalive(Some(KEEP_ALIVE.time));
        connector.set_keepalive_interval(Some(KEEP_ALIVE.interval));
        connector.set_keepalive_retries(Some(KEEP_ALIVE.retries));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(BUFFER)
            // The head is complete when it comes here.
            .set_host(false);
        let client = if upstream.is_tls() {
            connector.enforce_http(false);
            let connector = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
                .https_only()
                .enable_http1()
                .wrap_connector(connector);
            Link::Tls(builder.build(connector))
        } else {
            Link::Plain(builder.build(connector))
        };
        Ok(Self {
            upstream,
            client,
            response_timeout: timeouts.response,
        })
    }

    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Sends a request on and gives the answer's head; bodies flow as they are
    /// read. Dropping the future, or the answer, ends the exchange upstream; so
    /// does the end of `stream`.
    ///
    /// `websocket` is there where the decision was about an upgrade.
    pub(crate) async fn forward(
        &self,
        mut request: Request<Incoming>,
        stream: Arc<Stream>,
        websocket: Option<Open>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let client = websocket.map(|open| (hyper::upgrade::on(&mut request), open));
        let mut response = self.send(request, &stream).await?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match client {
            Some((client, open)) if switched && upgrade::agrees(response.headers()) => {
                let upstream = hyper::upgrade::on(&mut response);
                headers::rewrite_answer(response.headers_mut());
                upgrade::set(response.headers_mut());
                tunnel::start(client, upstream, Arc::clone(&stream), open);
            }
            // An upstream that switches unasked speaks something else than HTTP.
            Some(_) | None if switched => return Err(Refusal::UpstreamFailed),
            Some(_) | None => headers::rewrite_answer(response.headers_mut()),
        }
        // An upstream of HTTP/1.0 does not make the client one.
        *response.version_mut() = Version::HTTP_11;
        Ok(response.map(|body| AnswerBody::streamed(body, stream)))
    }

    async fn send(
        &self,
        request: Request<Incoming>,
        stream: &Arc<Stream>,
    ) -> Result<Response<Incoming>, Refusal> {
        let (parts, body) = request.into_parts();
        let (upload, progress) = Upload::new(body, stream);
        let mut response = self.client.request(Request::from_parts(parts, upload));
        let mut before = 0;
        loop {
            let answered = tokio::select! {
                // It first: its end is why the upload broke off.
                biased;
                denial = stream.end_of() => return Err(denial.clone().into()),
                answered = timeout(self.response_timeout, &mut response) => answered,
            };
            match answered {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(_)) if progress.as_ref().is_some_and(|p| p.is_broken()) => {
                    let why = "the body of the request is not well formed, or was cut off";
                    return Err(Refusal::InvalidRequest(why.into()));
                }
                Ok(Err(error)) => return Err(self.failure(&error)),
                Err(_elapsed) => {}
            }
            // An upstream may read a long upload to its end before it answers.
            match &progress {
                Some(progress) if progress.frames() != before => before = progress.frames(),
                Some(progress) if progress.waits_for_client() => {
                    return Err(Refusal::RequestTimeout);
                }
                Some(_) | None => return Err(Refusal::UpstreamTimeout),
            }
        }
    }

    fn failure(&self, error: &hyper_util::client::legacy::Error) -> Refusal {
        // The details are for whoever runs the gateway, not for its callers.
        tracing::warn!(upstream = %self.upstream, error = %chain(error), "upstream failed");
        let mut causes = causes(error);
        let timed_out = causes.any(|cause| {
            let io = cause.downcast_ref::<io::Error>();
            io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut)
        });
        if timed_out {
            Refusal::UpstreamTimeout
        } else {
            Refusal::UpstreamFailed
        }
    }
}

impl Link {
    fn request(&self, request: Request<Upload>) -> ResponseFuture {
        match self {
            Self::Plain(client) => client.request(request),
            Self::Tls(client) => client.request(request),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({})", self.upstream)
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}
