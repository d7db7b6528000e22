//! The way to the upstream and back, streaming.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use tokio::time::timeout;

use crate::gateway::Timeouts;
use crate::gateway::body::{AnswerBody, Upload};
use crate::gateway::headers;
use crate::gateway::link::Link;
use crate::gateway::refusal::Refusal;
use crate::gateway::streams::Stream;
use crate::gateway::tunnel::{self, Open};
use crate::gateway::upgrade;
use crate::gateway::upstream::Upstream;

/// An upstream and the connections to it.
pub(crate) struct Proxy {
    upstream: Upstream,
    link: Link,
    response_timeout: Duration,
}

impl Proxy {
    /// Fails if the machine's certificates cannot be read and are needed.
    pub(crate) fn new(upstream: Upstream, timeouts: &Timeouts) -> io::Result<Self> {
        let tls = if upstream.is_tls() {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider);
            let config = config.with_safe_default_protocol_versions();
            let config = config.map_err(io::Error::other)?.with_native_roots()?;
            Some(config.with_no_client_auth())
        } else {
            None
        };
        Ok(Self {
            link: Link::new(upstream.speaks(), tls, timeouts),
            upstream,
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
        let mut response = self.send(request, &stream, client.is_some()).await?;
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
        is_websocket: bool,
    ) -> Result<Response<Incoming>, Refusal> {
        let (parts, body) = request.into_parts();
        let (upload, progress) = Upload::new(body, stream);
        let request = Request::from_parts(parts, upload);
        let mut response = self.link.request(request, is_websocket);
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
