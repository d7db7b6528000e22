//! The door that requests come through on their way to the upstream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hardtack_token::Asked;
use hardtack_token::path::canonical;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::Notify;

use crate::gateway::body::AnswerBody;
#[cfg(feature = "envoy")]
use crate::gateway::ext_authz;
use crate::gateway::forward_auth::{Allowance, Door};
use crate::gateway::headers::Outgoing;
use crate::gateway::identity::Identity;
use crate::gateway::log::{self, Line, Subject};
use crate::gateway::own::{self, Own};
use crate::gateway::proxy::Proxy;
use crate::gateway::refusal::{Refusal, Refused};
use crate::gateway::request::{self, Received, Spelt};
use crate::gateway::request_id::{RequestId, X_REQUEST_ID};
use crate::gateway::streams::{Opening, Stream};
use crate::gateway::tunnel::Open;
use crate::gateway::upstream::Speaks;
use crate::gateway::{Gateway, problem};
use crate::web::listener::Came;
use crate::web::metrics::Stopwatch;
use crate::web::peer::Peer;

/// How much of a body is read for nothing. Its sender may not listen before all
/// is sent, and a connection that is closed too early takes the answer with it.
const DRAIN: u64 = 256 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What is done with a request once it is decided on.
enum Course<'a> {
    Answer(Response<AnswerBody>),
    /// A proxy that asks is told that its client may.
    Allow(Allowance),
    Forward(Way<'a>),
}

/// Where a request goes, and as whose.
struct Way<'a> {
    proxy: &'a Proxy,
    target: Uri,
    identity: Identity,
    is_websocket: bool,
    stream: Arc<Stream>,
}

/// What a request needs to know of the connection that it came by.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) open: Open,
    /// Cuts it off, or the request's stream where it carries several.
    pub(crate) cut: Arc<Notify>,
    /// The address of its other end, as it is told to upstreams.
    pub(crate) address: HeaderValue,
}

/// Whom a request comes from, and what it is called.
#[derive(Clone, Copy)]
pub(crate) struct Sender<'a> {
    pub(crate) peer: Peer,
    pub(crate) client: IpAddr,
    pub(crate) id: &'a RequestId,
}

impl Gateway {
    /// Answers one request.
    pub(crate) async fn handle(
        &self,
        request: Request<Incoming>,
        came: Came,
        connection: Connection,
    ) -> Response<AnswerBody> {
        let Connection { open, cut, address } = connection;
        let started = Stopwatch::start();
        let (mut parts, body) = request.into_parts();
        #[cfg(feature = "envoy")]
        if ext_authz::is_question(&parts) {
            return Box::pin(self.question(parts, body, came)).await;
        }
        request::in_one_form(&mut parts);
        let is_http2 = parts.version == Version::HTTP_2;
        let is_head = parts.method == Method::HEAD;
        let peer = Peer::new(came, &self.trusted_proxies);
        let millis = self.decider.clock().now_millis();
        // The one spelling of the path, for whatever looks at it.
        let path = canonical(parts.uri.path());
        // A proxy that asks passes the client's headers on, its request id too.
        let named = peer.trusted && Door::at(&path).is_none();
        let id = self.ids.of(&parts.headers, named, millis);
        let sender = Sender {
            peer,
            client: peer.client(&parts.headers, &self.trusted_proxies),
            id: &id,
        };
        let has_body = !body.is_end_stream();
        let mut response = match self.course(&parts, path, has_body, sender, cut) {
            // Boxed: hyper and tokio move the future of each request several times, and this
            // part of it has several kilobytes, which an answer of our own does not need.
            Course::Forward(way) => {
                Box::pin(self.forward(parts, body, way, sender, open, address)).await
            }
            Course::Answer(answer) => closing(answer, dismiss(&parts, body)),
            Course::Allow(allowance) => {
                let closes = dismiss(&parts, body);
                closing(allowance.answer(parts.headers, &id), closes)
            }
        };
        // What an upstream calls the request is for its own logs.
        let id = id.value().clone();
        response.headers_mut().insert(&X_REQUEST_ID, id);
        if is_http2 && is_head {
            leave_body_out(&mut response);
        }
        self.metrics.passed(started.took());
        response
    }

    /// Reads a request and decides on it. Nothing is waited for.
    fn course(
        &self,
        parts: &Parts,
        path: Spelt<'_>,
        has_body: bool,
        sender: Sender<'_>,
        cut: Arc<Notify>,
    ) -> Course<'_> {
        // Before anything is read that could be refused: a door has its own forms.
        if let Some(door) = Door::at(&path) {
            let told = self.forward_auth(door, parts, sender);
            return told.map_or_else(|answer| Course::Answer(*answer), Course::Allow);
        }
        let received = match Received::read(parts, path, has_body) {
            Ok(received) => received,
            Err(why) => {
                let line = Line {
                    method: parts.method.as_str(),
                    path: parts.uri.path(),
                };
                return Course::Answer(self.refuse(&Refused::unknown(why), line, sender));
            }
        };
        let asked = received.asked();
        let course = match Own::of(&asked) {
            Some(own) => self.answer_itself(own, &asked, sender).map(Course::Answer),
            None => self.way(&asked, parts, sender, cut).map(Course::Forward),
        };
        course.unwrap_or_else(|refused| {
            Course::Answer(self.refuse(&refused, Line::of(&asked), sender))
        })
    }

    fn answer_itself(
        &self,
        own: Own,
        asked: &Asked<'_>,
        sender: Sender<'_>,
    ) -> Result<Response<AnswerBody>, Box<Refused>> {
        let origin = self.decider.origin();
        match own {
            Own::Metadata => {
                let policy = self.decider.policy();
                Ok(own::metadata(origin, &self.issuer, policy.catalog()))
            }
            Own::Whoami => {
                let permit = self.decider.decide_any(asked)?;
                let access = permit.access();
                self.log_allowed(|| sender.subject(Line::of(asked)), Some(access));
                Ok(own::whoami(access, origin))
            }
            Own::Nothing(why) => {
                self.decider.decide_any(asked)?;
                Err(Refused::unknown(why).into())
            }
        }
    }

    /// The way of a request that the policy and its token allow.
    fn way(
        &self,
        asked: &Asked<'_>,
        parts: &Parts,
        sender: Sender<'_>,
        cut: Arc<Notify>,
    ) -> Result<Way<'_>, Box<Refused>> {
        let changes = self.streams.changes();
        let allowed = self.decider.decide(asked)?;
        let Some(proxy) = self.upstreams.of(asked.path) else {
            return Err(Refused::unknown(Refusal::NoUpstream).into());
        };
        let target = proxy.upstream().url(asked.path, &parts.uri);
        let target = target.map_err(|_| {
            let why = "the request target is too long or holds what no URL holds";
            Refused::unknown(Refusal::InvalidRequest(why.into()))
        })?;
        let access = allowed.access();
        let subject = sender.subject(Line::of(asked));
        self.log_allowed(|| subject, access);
        let identity = access.map_or_else(Identity::nobody, Identity::of);
        let is_websocket = asked.is_websocket();
        let stream = self.streams.open(Opening {
            held: allowed.into_permit().map(|permit| (permit, subject.into())),
            is_websocket,
            cut,
            changes,
        });
        Ok(Way {
            proxy,
            target,
            identity,
            is_websocket,
            stream,
        })
    }

    async fn forward(
        &self,
        mut parts: Parts,
        body: Incoming,
        way: Way<'_>,
        sender: Sender<'_>,
        open: Open,
        address: HeaderValue,
    ) -> Response<AnswerBody> {
        let outgoing = Outgoing {
            identity: way.identity,
            id: sender.id,
            peer: sender.peer,
            address,
            host: way.proxy.upstream().host(),
            is_unframed: !body.is_end_stream()
                && matches!(parts.method, Method::GET | Method::HEAD)
                && way.proxy.upstream().speaks() != Speaks::Http2,
            is_websocket: way.is_websocket,
        };
        outgoing.rewrite(&mut parts.headers);
        parts.uri = way.target.clone();
        parts.version = Version::HTTP_11;
        let method = parts.method.clone();
        let request = Request::from_parts(parts, body);
        let open = way.is_websocket.then_some(open);
        let answer = way.proxy.forward(request, way.stream, open).await;
        answer.unwrap_or_else(|why| {
            let line = Line {
                method: method.as_str(),
                path: way.target.path(),
            };
            self.refuse(&Refused::unknown(why), line, sender)
        })
    }

    pub(crate) fn refuse(
        &self,
        refused: &Refused,
        line: Line<'_>,
        sender: Sender<'_>,
    ) -> Response<AnswerBody> {
        self.metrics.refused(refused.why.code());
        log::refused(sender.subject(line), refused);
        problem::answer(refused, self.site(), sender.id)
    }
}

impl<'a> Sender<'a> {
    pub(crate) const fn subject(self, line: Line<'a>) -> Subject<'a> {
        Subject {
            line,
            client: self.client,
            id: self.id,
        }
    }
}

/// An answer to HEAD has the length of its body. Over HTTP/1.1 hyper sees to that.
fn leave_body_out(answer: &mut Response<AnswerBody>) {
    if let Some(length) = answer.body().whole_bytes().map(<[u8]>::len) {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        *answer.body_mut() = AnswerBody::whole(Vec::new());
    }
}

/// An answer, and perhaps the last on its connection.
fn closing(mut answer: Response<AnswerBody>, closes: bool) -> Response<AnswerBody> {
    if closes {
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
    }
    answer
}

/// Deals with the body of a request that is answered without it. Says whether
/// the connection has to be closed.
///
/// SECURITY: a refused sender does not get to send a gigabyte.
fn dismiss(parts: &Parts, mut body: Incoming) -> bool {
    // A stream of HTTP/2 is reset behind its answer.
    if body.is_end_stream() || parts.version == Version::HTTP_2 {
        return false;
    }
    if parts.headers.contains_key(EXPECT) {
        // Reading would be the invitation (`100 Continue`) to send it.
        return true;
    }
    let is_short = body.size_hint().upper().is_some_and(|size| size <= DRAIN);
    let drain = async move {
        let mut left = DRAIN;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    tokio::spawn(tokio::time::timeout(DRAIN_TIME, drain));
    !is_short
}
