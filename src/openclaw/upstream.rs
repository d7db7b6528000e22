//! The gateway behind this door, in its trusted-proxy mode: one connection for
//! each client, with the client's address and its scopes, and neither device
//! nor credential. It believes what this door says, and nobody else may reach it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use futures_util::{SinkExt, StreamExt};
use hardtack_token::{InvalidId, Origin, Subject};
use http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::openclaw::OpenClaw;
use crate::openclaw::admission::Admitted;
use crate::openclaw::connect::PROTOCOLS;
use crate::openclaw::errors::{Close, ErrorShape, Refusal};
use crate::openclaw::session::leaves;
use crate::openclaw::socket;
use crate::openclaw::upgrade::Visitor;
use crate::web::transport::Transport;

/// The name under which this door is known to the upstream.
const USER: &str = "hardtack";

/// What stands for a client on this machine: the upstream refuses a proxy that
/// names a loopback address (RFC 5737, for documentation, so nobody's own).
const THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// The id of our one request.
const CONNECT_ID: &str = "hardtack-connect";

/// The URL of an OpenClaw gateway: `ws://host:port`, perhaps with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The host and the port.
    address: String,
    url: String,
}

/// An upstream that let a client in.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) socket: WebSocketStream<Transport>,
    /// The payload of its `hello-ok`.
    pub(super) hello: Value,
}

/// Why an upstream cannot be used.
#[derive(Debug)]
enum Unusable {
    /// It is not there, or it is not what it should be.
    Gone(String),
    /// It answered `connect` with an error.
    Refused(Value, Option<Close>),
}

impl OpenClaw {
    /// Connects to the upstream for a client.
    pub(super) async fn greet(
        &self,
        params: Value,
        admitted: &Admitted,
        visitor: &Visitor,
    ) -> Result<Greeted, Refusal> {
        let upstream = &self.settings.upstream;
        let headers = headers(admitted, visitor);
        let params = for_upstream(params, admitted);
        let greeted = timeout(
            self.settings.timeouts.upstream,
            Box::pin(upstream.connect(headers, params)),
        );
        let greeted = greeted.await;
        let greeted = greeted.unwrap_or_else(|_| Err(Unusable::Gone("no answer".to_owned())));
        greeted.map_err(|unusable| match unusable {
            Unusable::Gone(why) => {
                tracing::warn!(%upstream, why, "the OpenClaw gateway cannot be reached");
                Refusal::starting("the gateway behind hardtack is not reachable now")
            }
            Unusable::Refused(error, close) => refused(&error, close, upstream),
        })
    }
}

impl Upstream {
    async fn connect(&self, headers: HeaderMap, params: Value) -> Result<Greeted, Unusable> {
        let gone = |error: &dyn fmt::Display| Unusable::Gone(error.to_string());
        let stream = TcpStream::connect(&self.address).await;
        let stream = stream.map_err(|error| gone(&error))?;
        stream.set_nodelay(true).ok();
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|e| gone(&e))?;
        request.headers_mut().extend(headers);
        let config = Some(socket::of_upstream());
        let opened = client_async_with_config(request, Transport::Plain(stream), config).await;
        let (mut socket, _) = opened.map_err(|error| match error {
            WsError::Http(response) => Unusable::Gone(refused_upgrade(&response)),
            other => gone(&other),
        })?;
        expect(&mut socket, |frame| frame["event"] == "connect.challenge").await?;
        let request = json!({
            "type": "req", "id": CONNECT_ID, "method": "connect", "params": params,
        });
        let sent = socket.send(Message::text(request.to_string())).await;
        sent.map_err(|error| gone(&error))?;
        let mut answer = expect(&mut socket, |frame| {
            frame["type"] == "res" && frame["id"] == CONNECT_ID
        })
        .await?;
        let take = |of: &mut Value, name: &str| of.get_mut(name).map(Value::take);
        if answer.get("ok") == Some(&Value::Bool(true)) {
            let hello = take(&mut answer, "payload").unwrap_or_default();
            return Ok(Greeted { socket, hello });
        }
        let close = match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => {
                Some(Close::new(frame.code.into(), frame.reason.as_str()))
            }
            _ => None,
        };
        let error = take(&mut answer, "error").unwrap_or_default();
        Err(Unusable::Refused(error, close))
    }
}

/// Reads frames until one is expected. Events may come before an answer.
async fn expect(
    socket: &mut WebSocketStream<Transport>,
    is_it: impl Fn(&Value) -> bool,
) -> Result<Value, Unusable> {
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) => {
                let frame: Value = serde_json::from_str(&text)
                    .map_err(|error| Unusable::Gone(error.to_string()))?;
                if is_it(&frame) {
                    return Ok(frame);
                }
            }
            Ok(Message::Close(frame)) => {
                let reason = frame.map(|f| f.reason.as_str().to_owned());
                return Err(Unusable::Gone(reason.unwrap_or_default()));
            }
            Ok(_) => {}
            Err(error) => return Err(Unusable::Gone(error.to_string())),
        }
    }
    Err(Unusable::Gone("it closed the connection".to_owned()))
}

/// What a client is told when the upstream refused it.
fn refused(error: &Value, close: Option<Close>, upstream: &Upstream) -> Refusal {
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    let detail = error.pointer("/details/code").and_then(Value::as_str);
    let detail = detail.unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    if code == "UNAVAILABLE" {
        // It is starting.
        return Refusal::starting(message);
    }
    if detail == "PROTOCOL_MISMATCH" {
        let mut shape = ErrorShape::invalid("protocol mismatch");
        shape.details = error["details"].as_object().cloned().unwrap_or_default();
        let close = close.unwrap_or_else(|| Close::new(1002, "protocol mismatch"));
        return Refusal {
            error: shape,
            close,
        };
    }
    if detail.is_empty() && code == "INVALID_REQUEST" {
        // About what the client said of itself: its own business.
        return Refusal::policy(ErrorShape::invalid(message), "invalid connect params");
    }
    // It does not trust this door, or wants a device of its own: a matter of
    // its configuration, which the client can do nothing about.
    tracing::error!(
        %upstream, code, detail, message,
        "the OpenClaw gateway does not let hardtack in: see docs/openclaw.md"
    );
    let message = format!("the gateway behind hardtack refuses this client: {message}");
    let error = ErrorShape::unavailable(message, 5_000)
        .with("reason", "upstream-refused")
        .with("upstreamCode", detail);
    Refusal::policy(error, "upstream refused the client")
}

fn refused_upgrade(response: &http::Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(body);
    let body: String = body.chars().take(200).collect();
    format!("HTTP {}: {body}", response.status())
}

/// What is said of a client to the upstream, whatever the client says.
fn headers(admitted: &Admitted, visitor: &Visitor) -> HeaderMap {
    let address = match visitor.address.to_canonical() {
        address if address.is_loopback() => THIS_MACHINE,
        address => address,
    };
    let leaf = admitted.standing.access.chain().leaf();
    let (device, service) = match &leaf.subject {
        Subject::Device(id) => (id.to_string(), String::new()),
        Subject::Service(name) => (String::new(), name.to_string()),
    };
    let scopes = leaves(&admitted.standing.access).join(",");
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-forwarded-for", address.to_string()),
        ("x-forwarded-proto", visitor.scheme.to_owned()),
        ("x-forwarded-user", USER.to_owned()),
        ("x-openclaw-scopes", scopes),
        ("x-hardtack-device", device),
        ("x-hardtack-service", service),
        ("x-hardtack-grant", leaf.id.to_string()),
        ("x-hardtack-role", leaf.role.to_string()),
    ] {
        // Ids, names and addresses are plain ASCII.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    // SECURITY: without it the gateway's own rule, which pages a browser may
    // come from, would not hold for those that come by this door.
    let origin = visitor.origin.as_deref().map(HeaderValue::from_str);
    if let Some(Ok(origin)) = origin {
        headers.insert(ORIGIN, origin);
    }
    headers
}

/// The client's own parameters without its device and its credentials, and
/// with the scopes that it has.
///
/// A gateway takes clients of its own version only. One of an older version is
/// named as one of both: what it calls is answered the same.
fn for_upstream(mut params: Value, admitted: &Admitted) -> Value {
    if let Some(members) = params.as_object_mut() {
        members.remove("device");
        members.remove("auth");
        let scopes = leaves(&admitted.standing.access);
        members.insert("scopes".into(), json!(scopes));
        members.insert("maxProtocol".into(), json!(PROTOCOLS.end()));
    }
    params
}

impl FromStr for Upstream {
    type Err = InvalidId;

    /// Reads a `ws` URL without user, query and fragment.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |why| InvalidId {
            what: "OpenClaw upstream",
            why,
        };
        if text.starts_with("wss:") {
            return Err(invalid(
                "it must be `ws://`: the gateway trusts whoever reaches it, so it is on this machine or in a network of its own",
            ));
        }
        let rest = text.strip_prefix("ws://");
        let rest = rest.ok_or_else(|| invalid("it must start with `ws://`"))?;
        if text.contains(['?', '#']) {
            return Err(invalid("it must not have a query or a fragment"));
        }
        let (origin, path) = Origin::split(&format!("http://{rest}"))?;
        let authority = origin.as_str().strip_prefix("http://").unwrap_or_default();
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port {
            authority.to_owned()
        } else {
            format!("{authority}:80")
        };
        Ok(Self {
            url: format!("ws://{authority}{path}"),
            address,
        })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_ws_url_of_a_host() {
        for (text, address, url) in [
            (
                "ws://127.0.0.1:18790",
                "127.0.0.1:18790",
                "ws://127.0.0.1:18790/",
            ),
            ("ws://openclaw/gw", "openclaw:80", "ws://openclaw/gw"),
            ("ws://[::1]:18790/", "[::1]:18790", "ws://[::1]:18790/"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!((&*upstream.address, &*upstream.url), (address, url));
        }
        for text in [
            "",
            "127.0.0.1",
            "http://x",
            "wss://x",
            "ws://u:p@x",
            "ws://x?y",
            "ws://x#y",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_the_upstream_says_is_told_in_words_that_clients_act_on() {
        let upstream: Upstream = "ws://x".parse().unwrap();
        let starting = json!({"code": "UNAVAILABLE", "message": "starting"});
        let told = refused(&starting, None, &upstream);
        assert_eq!(
            (told.close.code, &*told.close.reason),
            (1013, "gateway starting")
        );
        assert_eq!(told.error.details["reason"], "startup-sidecars");

        let mismatch = json!({
            "code": "INVALID_REQUEST", "message": "protocol mismatch",
            "details": {"code": "PROTOCOL_MISMATCH", "expectedProtocol": 3},
        });
        let told = refused(&mismatch, None, &upstream);
        assert_eq!(
            (
                told.close.code,
                told.error.details["expectedProtocol"].clone()
            ),
            (1002, json!(3))
        );

        let untrusted = json!({
            "code": "INVALID_REQUEST", "message": "unauthorized",
            "details": {"code": "AUTH_UNAUTHORIZED"},
        });
        let told = refused(&untrusted, None, &upstream);
        assert_eq!((told.error.code, told.close.code), ("UNAVAILABLE", 1008));
        assert_eq!(told.error.details["upstreamCode"], "AUTH_UNAUTHORIZED");
    }
}
