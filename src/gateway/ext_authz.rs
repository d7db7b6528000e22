//! Envoy's `ext_authz` (`envoy.service.auth.v3`) over gRPC: the door of proxies
//! that ask in a protocol of their own, and do as they are told with headers.
//!
//! It is served at the gateway's listener, over HTTP/2.

mod grpc;
pub(crate) mod messages;

use http::Response;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use hyper::body::Incoming;

use crate::gateway::Gateway;
use crate::gateway::body::AnswerBody;
use crate::gateway::forward_auth::original::{Original, Stated};
use crate::gateway::headers::is_ours;
use crate::gateway::identity::Identity;
use crate::gateway::log::{self, Line};
use crate::gateway::refusal::{Refusal, Refused};
use crate::gateway::reverse_proxy::Sender;
use crate::gateway::upgrade;
use crate::web::listener::Came;
use crate::web::peer::Peer;
use grpc::Status;
use messages::{CheckRequest, CheckResponse, Field};

/// The only method there is.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// What the methods of all versions start with.
const PREFIX: &str = "/envoy.service.auth.";

/// Whether a request is Envoy's question.
///
/// SECURITY: so is a method that there is not. An upstream could else answer it.
pub(crate) fn is_question(parts: &Parts) -> bool {
    parts.uri.path().starts_with(PREFIX) && grpc::is_call(parts)
}

impl Gateway {
    /// Answers Envoy's question.
    pub(crate) async fn question(
        &self,
        parts: Parts,
        body: Incoming,
        came: Came,
    ) -> Response<AnswerBody> {
        let peer = Peer::new(came, &self.trusted_proxies);
        let id = self.ids.next(self.decider.clock().now_millis());
        let sender = Sender {
            peer,
            client: peer.client(&parts.headers, &self.trusted_proxies),
            id: &id,
        };
        // SECURITY: before anything is read, and as at the other doors.
        if !self.is_proxy(&parts.headers, sender.peer) {
            let line = Line {
                method: parts.method.as_str(),
                path: parts.uri.path(),
            };
            let refused = Refused::unknown(Refusal::ProxyNotTrusted);
            log::refused(sender.subject(line), &refused);
            return grpc::failure(
                Status::PermissionDenied,
                "only this gateway's proxies may ask",
            );
        }
        if parts.uri.path() != CHECK {
            return grpc::failure(Status::Unimplemented, "v3 is spoken here, and Check only");
        }
        match grpc::read::<CheckRequest>(body).await {
            Ok(asked) => grpc::message(&self.answer_check(asked, sender)),
            Err((status, why)) => grpc::failure(status, why),
        }
    }

    fn answer_check(&self, asked: CheckRequest, sender: Sender<'_>) -> CheckResponse {
        let client = asked.client().unwrap_or(sender.client);
        let sender = Sender {
            peer: Peer {
                trusted: true,
                ..sender.peer
            },
            client,
            ..sender
        };
        let http = asked.into_http();
        let wire = Line {
            method: &http.method,
            path: http.path.split('?').next().unwrap_or_default(),
        };
        let refuse = |why| self.denied(&Refused::unknown(why), wire, sender);
        let headers = match headers(&http.headers) {
            Ok(headers) => headers,
            Err(why) => return refuse(why),
        };
        let stated = Stated {
            method: &http.method,
            target: &http.path,
            upgrade: match stated_upgrade(&headers) {
                Ok(upgrade) => upgrade,
                Err(why) => return refuse(why),
            },
        };
        let original = match Original::of(stated, &headers) {
            Ok(original) => original,
            Err(why) => return refuse(why),
        };
        let asked = original.asked();
        match self.decider.decide(&asked) {
            Ok(allowed) => {
                let access = allowed.access();
                self.log_allowed(|| sender.subject(Line::of(&asked)), access);
                let identity = access.map_or_else(Identity::nobody, Identity::of);
                let mut set = HeaderMap::with_capacity(8);
                identity.set(&mut set, sender.id);
                CheckResponse::allow(&set, original.target(), unwanted(&headers, &set))
            }
            Err(refused) => self.denied(&refused, Line::of(&asked), sender),
        }
    }

    fn denied(&self, refused: &Refused, line: Line<'_>, sender: Sender<'_>) -> CheckResponse {
        let answer = self.refuse(refused, line, sender);
        let body = answer.body().whole_bytes().unwrap_or_default();
        let body = String::from_utf8_lossy(body).into_owned();
        CheckResponse::deny(answer.status(), answer.headers(), body)
    }
}

/// The headers of the request that Envoy asks about.
fn headers(fields: &[Field]) -> Result<HeaderMap, Refusal> {
    let invalid = |why: String| Refusal::InvalidRequest(why.into());
    // A question can name more than a map has room for.
    let mut headers = HeaderMap::with_capacity(fields.len().min(64));
    for Field { key, value } in fields {
        // `:path` and its like stand beside them.
        if key.starts_with(b":") {
            continue;
        }
        let name = HeaderName::from_bytes(key);
        let name = name.map_err(|_| invalid("a name of a header is none".to_owned()))?;
        // SECURITY: as at the gateway: Envoy lets such names through.
        if name.as_str().contains('_') {
            let why = format!("the name of the header `{name}` holds an underscore");
            return Err(invalid(why));
        }
        let value = HeaderValue::from_maybe_shared(value.clone());
        let value = value.map_err(|_| invalid(format!("the header `{name}` holds no value")))?;
        let added = headers.try_append(name, value);
        added.map_err(|_| invalid("there are too many headers".to_owned()))?;
    }
    Ok(headers)
}

/// What the request is to be upgraded to. Envoy removes `Upgrade` from what it
/// takes for no upgrade, and shows both headers of one.
fn stated_upgrade(headers: &HeaderMap) -> Result<&str, Refusal> {
    let Some(value) = headers.get(UPGRADE) else {
        return Ok("");
    };
    let invalid = |why: &'static str| Err(Refusal::InvalidRequest(why.into()));
    if !upgrade::lists(headers, &CONNECTION, "upgrade") {
        return invalid("there is an `Upgrade` that `Connection` does not name");
    }
    value
        .to_str()
        .or_else(|_| invalid("the header `upgrade` is not ASCII"))
}

/// Which of the client's headers must not go on: the credential, and what only
/// hardtack or Envoy may say. `set` is set anyway.
fn unwanted(headers: &HeaderMap, set: &HeaderMap) -> Vec<String> {
    // Envoy makes these itself, out of what it trusts.
    let envoys = ["x-forwarded-for", "x-forwarded-proto"];
    let names = headers.keys().map(HeaderName::as_str);
    let unwanted =
        names.filter(|name| is_ours(name) && !set.contains_key(*name) && !envoys.contains(name));
    unwanted.map(str::to_owned).collect()
}
