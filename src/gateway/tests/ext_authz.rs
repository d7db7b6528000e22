//! The door for Envoy, asked over HTTP/2 as Envoy asks.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use serde_json::Value;

use super::client::bearer;
use super::support::{Device, Running, Setup, World};
use crate::gateway::ext_authz::messages::{
    Address, Attributes, CheckRequest, CheckResponse, Field, HeaderOption, HttpRequest, Peer,
    Request as Asked, SocketAddress,
};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// `OVERWRITE_IF_EXISTS_OR_ADD`
const OVERWRITE: i32 = 2;

/// A proxy's connection.
struct Envoy(SendRequest<Full<Bytes>>);

impl Envoy {
    async fn connect(gateway: &Running) -> Self {
        let stream = TokioIo::new(gateway.connect().await);
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> (HeaderMap, Bytes, u16) {
        let response: Response<_> = self.0.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let whole = body.collect().await.unwrap();
        let mut headers = parts.headers;
        headers.extend(whole.trailers().cloned().unwrap_or_default());
        (headers, whole.to_bytes(), parts.status.as_u16())
    }

    /// The status of a call, and its message if there is one.
    async fn call(&mut self, metadata: &[(&str, &str)], body: Vec<u8>) -> (String, Bytes) {
        let mut request = Request::post(format!("http://hardtack{CHECK}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        let (headers, body, status) = self.send(request).await;
        assert_eq!(status, 200);
        let status = headers["grpc-status"].to_str().unwrap().to_owned();
        (status, body)
    }

    async fn ask(&mut self, line: &str, headers: &[(&str, &str)]) -> Answer {
        let (status, body) = self.call(&[], question(line, headers)).await;
        assert_eq!(status, "0");
        Answer(CheckResponse::decode(&body[5..]).unwrap())
    }
}

fn question(line: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let (method, path) = line.split_once(' ').unwrap();
    let field = |(name, value): &(&str, &str)| Field {
        key: Bytes::copy_from_slice(name.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    let pseudo = [(":path", "/assets/evil"), (":method", "GET")];
    let socket = SocketAddress {
        address: "192.0.2.7".to_owned(),
    };
    let asked = CheckRequest {
        attributes: Some(Attributes {
            source: Some(Peer {
                address: Some(Address {
                    socket: Some(socket),
                }),
            }),
            request: Some(Asked {
                http: Some(HttpRequest {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    headers: pseudo.iter().chain(headers).map(field).collect(),
                }),
            }),
        }),
    };
    framed(&asked.encode_to_vec())
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

struct Answer(CheckResponse);

impl Answer {
    /// `200`, or status and code of a problem, as the reverse proxy says it.
    fn outcome(&self) -> String {
        let Some(denied) = &self.0.denied else {
            assert_eq!(self.0.status.as_ref().unwrap().code, 0);
            assert!(self.0.ok.is_some());
            return "200".to_owned();
        };
        assert_ne!(self.0.status.as_ref().unwrap().code, 0);
        assert!(self.0.ok.is_none());
        let problem: Value = serde_json::from_str(&denied.body).unwrap();
        let status = denied.status.as_ref().unwrap().code;
        assert_eq!(problem["status"], status);
        format!("{status} {}", problem["code"].as_str().unwrap())
    }

    /// What is set for the upstream.
    fn set(&self) -> BTreeMap<&str, &str> {
        let ok = self.0.ok.as_ref().unwrap();
        let overwrites = |o: &HeaderOption| o.append_action == OVERWRITE && o.keep_empty_value;
        assert!(ok.headers.iter().all(overwrites));
        let pair = |option: &'_ HeaderOption| option.header.clone().unwrap();
        let names: Vec<_> = ok.headers.iter().map(pair).collect();
        assert_eq!(names.len(), 7);
        let headers = ok.headers.iter().filter_map(|o| o.header.as_ref());
        headers.map(|h| (&*h.key, &*h.value)).collect()
    }

    fn removed(&self) -> Vec<&str> {
        let removed = &self.0.ok.as_ref().unwrap().headers_to_remove;
        let mut removed: Vec<&str> = removed.iter().map(String::as_str).collect();
        removed.sort_unstable();
        removed
    }
}

async fn trusting(world: &mut World) -> Running {
    let setup = Setup {
        trusted: vec!["127.0.0.1/32"],
        ..Setup::default()
    };
    world.start(setup).await
}

#[tokio::test]
async fn envoy_is_told_what_to_set_and_what_to_remove() {
    let mut world = World::new();
    let gateway = trusting(&mut world).await;
    let token = bearer(&world.token("operator.write"));
    let mut envoy = Envoy::connect(&gateway).await;
    let sent = [
        ("authorization", &*token),
        ("dpop", "x"),
        ("x-hardtack-device", "mallory"),
        ("x-hardtack-admin", "mallory"),
        ("x-original-uri", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-http-method-override", "DELETE"),
        ("forwarded", "for=6.6.6.6"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-kept", "1"),
    ];
    let answer = envoy.ask("GET /%61pi/x?q=%2e", &sent).await;
    assert_eq!(answer.outcome(), "200");
    let given = answer.set();
    let device = Device::new(1).id().to_string();
    assert_eq!(given["x-hardtack-device"], device);
    assert_eq!(given["x-hardtack-service"], "");
    assert_eq!(given["x-hardtack-scopes"], "operator.read operator.write");
    assert_eq!(given[":path"], "/api/x?q=%2e");
    let removed = [
        "authorization",
        "dpop",
        "forwarded",
        "x-forwarded-host",
        "x-hardtack-admin",
        "x-http-method-override",
        "x-original-uri",
        "x-rewrite-url",
    ];
    assert_eq!(answer.removed(), removed);
    // Nobody is told of as nobody.
    let answer = envoy.ask("GET /assets/x", &sent).await;
    for name in ["device", "service", "grant", "role", "scopes"] {
        assert_eq!(answer.set()[&*format!("x-hardtack-{name}")], "");
    }
}

#[tokio::test]
async fn envoy_is_told_what_the_reverse_proxy_would_say() {
    let mut world = World::new();
    let (proxy, _echo) = world.start_with_echo().await;
    let gateway = trusting(&mut world).await;
    let mut envoy = Envoy::connect(&gateway).await;
    let read = bearer(&world.token("operator.read"));
    let both = format!("{read},{read}");
    let lines = [
        "GET /api/x?q",
        "POST /api/x",
        "GET /ws/x",
        "GET /assets/a",
        "GET /api/internal/x",
        "GET /nothing",
        "GET /assets/../api/x",
        "GET /assets//x",
        "GET /api/x;y",
        "GET /api/%2fx",
        "get /api/x",
        "WEBSOCKET /api/x",
    ];
    for credential in ["", &read, &both, "Bearer x"] {
        for line in lines {
            let headers = [("authorization", credential)];
            let headers = &headers[usize::from(credential.is_empty())..];
            let expected = proxy.send(line, headers).await.outcome();
            assert_eq!(envoy.ask(line, headers).await.outcome(), expected, "{line}");
        }
    }
    let answer = envoy.ask("GET /api/x", &[]).await;
    let denied = answer.0.denied.unwrap();
    let named = |name: &str| {
        let headers = denied.headers.iter().filter_map(|o| o.header.as_ref());
        headers.filter(|h| h.key == name).count()
    };
    assert_eq!(named("www-authenticate"), 2);
    assert_eq!(named("content-type"), 1);
    let underscore = [("x_hardtack_device", "mallory")];
    let answer = envoy.ask("GET /assets/x", &underscore).await;
    assert_eq!(answer.outcome(), "400 invalid_request");
}

#[tokio::test]
async fn a_field_that_comes_twice_or_is_none_is_seen() {
    let mut world = World::new();
    let gateway = trusting(&mut world).await;
    let mut envoy = Envoy::connect(&gateway).await;
    let read = bearer(&world.token("operator.read"));
    let twice = [("authorization", &*read); 2];
    let answer = envoy.ask("GET /api/x", &twice).await;
    assert_eq!(answer.outcome(), "400 duplicate_authorization");
    for (fields, expected) in [
        (vec![("", ""); 30_000], "400 invalid_request"),
        (vec![("x-a", "\n")], "400 invalid_request"),
        (vec![("x-a", "\u{e9}")], "200"),
        (vec![("a", ""); 10_000], "200"),
    ] {
        let answer = envoy.ask("GET /assets/x", &fields).await;
        assert_eq!(answer.outcome(), expected, "{:?}", fields[0]);
    }
}

#[tokio::test]
async fn an_upgrade_in_envoys_words_is_a_websocket() {
    let mut world = World::new();
    let gateway = trusting(&mut world).await;
    let mut envoy = Envoy::connect(&gateway).await;
    let read = bearer(&world.token("operator.read"));
    let write = bearer(&world.token("operator.write"));
    for (path, token, connection, upgrade, expected) in [
        ("/ws/x", &read, "Upgrade", "websocket", "403 no_route"),
        (
            "/api/x",
            &read,
            "Upgrade",
            "websocket",
            "403 insufficient_scope",
        ),
        ("/api/x", &write, "Upgrade", "websocket", "200"),
        (
            "/api/x",
            &write,
            "keep-alive",
            "websocket",
            "400 invalid_request",
        ),
        ("/api/x", &write, "Upgrade", "h2c", "400 invalid_request"),
        (
            "/api/x",
            &write,
            "Upgrade",
            "h2c,websocket",
            "400 invalid_request",
        ),
    ] {
        let headers = [
            ("authorization", &**token),
            ("connection", connection),
            ("upgrade", upgrade),
            ("sec-websocket-key", "k"),
        ];
        let answer = envoy.ask(&format!("GET {path}"), &headers).await;
        assert_eq!(answer.outcome(), expected, "{path} {upgrade}");
    }
    let silent = [("authorization", &*write), ("sec-websocket-key", "k")];
    let answer = envoy.ask("GET /api/x", &silent).await;
    assert_eq!(answer.outcome(), "400 invalid_request");
}

#[tokio::test]
async fn only_a_proxy_of_ours_is_answered() {
    let mut world = World::new();
    let asked = || question("GET /assets/x", &[]);
    let gateway = world.start(Setup::default()).await;
    let mut stranger = Envoy::connect(&gateway).await;
    let answer = stranger.call(&[], asked()).await;
    assert_eq!(answer, ("7".to_owned(), Bytes::new()));
    let setup = Setup {
        trusted: vec!["127.0.0.1/32"],
        proxy_secret: Some(SECRET),
        ..Setup::default()
    };
    let gateway = world.start(setup).await;
    let mut envoy = Envoy::connect(&gateway).await;
    assert_eq!(envoy.call(&[], asked()).await.0, "7");
    let secret = [("x-hardtack-proxy-secret", SECRET)];
    assert_eq!(envoy.call(&secret, asked()).await.0, "0");
}

#[tokio::test]
async fn what_is_no_question_is_no_permit() {
    let mut world = World::new();
    let gateway = trusting(&mut world).await;
    let mut envoy = Envoy::connect(&gateway).await;
    let long = framed(&vec![0; 200_000]);
    for (body, status) in [
        (Vec::new(), "3"),
        (b"\0\0\0\0\x05abc".to_vec(), "3"),
        (framed(b"\xff\xff"), "3"),
        ([&[1], &question("GET /assets/x", &[])[1..]].concat(), "12"),
        (long, "8"),
    ] {
        assert_eq!(
            envoy.call(&[], body).await,
            (status.to_owned(), Bytes::new())
        );
    }
    // A question about nothing.
    let (status, body) = envoy.call(&[], framed(b"")).await;
    assert_eq!(status, "0");
    let answer = Answer(CheckResponse::decode(&body[5..]).unwrap());
    assert_eq!(answer.outcome(), "400 invalid_request");
    // Another method of the service, and a request that is no question at all.
    let other = "http://gw.example/envoy.service.auth.v2.Authorization/Check";
    let other = Request::post(other).header("content-type", "application/grpc");
    let (headers, ..) = envoy.send(other.body(Full::default()).unwrap()).await;
    assert_eq!(headers["grpc-status"], "12");
    let request = Request::get("http://gw.example/assets/x");
    let (_, body, status) = envoy.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(status, 503, "{body:?}");
}
