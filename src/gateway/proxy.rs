//! The way to the upstream and back, streaming.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use crate::gateway::body::{AnswerBody, Upload};
use crate::gateway::headers;
use crate::gateway::link::{Link, Links};
use crate::gateway::refusal::Refusal;
use crate::gateway::streams::Stream;
use crate::gateway::tunnel::{self, Open};
use crate::gateway::upgrade;
use crate::gateway::upstream::Upstream;

/// An upstream and the connections to it.
pub(crate) struct Proxy {
    upstream: Upstream,
    links: Links,
    link: ArcSwap<Link>,
}

impl Proxy {
    pub(crate) fn new(upstream: Upstream, links: Links) -> Self {
        Self {
            upstream,
            link: ArcSwap::from_pointee(links.connect()),
            links,
        }
    }

    pub(crate) const fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Looks the upstream's name up over and over, for ever. When it has left an
    /// address, requests get new connections; what is open stays where it is.
    ///
    /// A connection that is in use all the time would else never be made anew.
    pub(crate) async fn follow(&self) {
        let Some(name) = self.upstream.name() else {
            return;
        };
        let mut known = Vec::new();
        loop {
            // Who cannot be asked, or knows none, has said nothing.
            if let Ok(found) = self.links.names.addresses(name).await
                && !found.is_empty()
            {
                if known.iter().any(|address| !found.contains(address)) {
                    tracing::info!(upstream = %self.upstream, "the upstream has other addresses");
                    self.link.store(Arc::new(self.links.connect()));
                }
                known = found;
            }
            sleep(self.links.timeouts.addresses).await;
        }
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
        let mut response = self.link.load().request(request, is_websocket);
        let mut before = 0;
        loop {
            let answered = tokio::select! {
                // It first: its end is why the upload broke off.
                biased;
                denial = stream.end_of() => return Err(denial.clone().into()),
                answered = timeout(self.links.timeouts.response, &mut response) => answered,
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
